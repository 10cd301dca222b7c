"""Quantities of the likelihood: log Z of a tilted prior, and the NLL of test images."""

import math
from collections.abc import Mapping
from typing import Any

from priorwise import estimators
from priorwise.estimators import Estimate
from priorwise.evaluation.quantity import Cell, Quantity, error_words, number_words
from priorwise.evaluation.subject import Subject
from priorwise.progress import progress_bar

__all__ = ["LOG_NORM", "NLL", "QUANTITIES"]


def _log_norm(subject: Subject) -> Estimate:
    """The log Z that the model keeps, if `subject.keeps_log_norm`; else a fresh estimate.

    The model keeps a fresh estimate from then on.
    """
    model, config = subject.model, subject.config
    log_norm = model.known_log_norm() if subject.keeps_log_norm else None
    asked_for_ends = config.log_norm == "annealed"
    if log_norm is not None and (log_norm.ends is not None or not asked_for_ends):
        ends = log_norm.ends
        return Estimate(
            log_norm.value,
            log_norm.stderr,
            0,
            diagnostics={"ess": log_norm.ess}
            | ({} if ends is None else {"lower": ends[0], "upper": ends[1]}),
            protocol={"estimator": "kept with the model"},
            warnings=log_norm.doubts,
        )
    by_importance = config.log_norm == "importance"
    total = config.log_norm_samples if by_importance else 2 * config.log_norm_chains
    with progress_bar("log Z", total, unit="draws", show=subject.progress) as advance:
        return estimators.log_norm(
            model,
            method=config.log_norm,
            samples=config.log_norm_samples,
            chains=config.log_norm_chains,
            temperatures=config.log_norm_temperatures,
            seed=config.seed,
            report=advance,
        )


def _still_known(subject: Subject, value: Mapping[str, Any]) -> bool:
    log_norm = subject.model.known_log_norm()
    return log_norm is not None and math.isclose(log_norm.value, value.get("value", math.nan))


def _log_norm_cells(value: Mapping[str, Any]) -> dict[str, Cell]:
    ends = value["diagnostics"]
    lower, upper = (number_words(ends.get(name), 3) for name in ("lower", "upper"))
    bracket = (f"[{lower}, {upper}]",) if "lower" in ends else ()
    small = (error_words(value["stderr"], 3), *bracket)
    number, doubts = value["value"], tuple(value["warnings"])
    return {"log Z": Cell(number_words(number, 3), small, doubts, values=(number,))}


LOG_NORM = Quantity(
    key="log_norm",
    meanings={
        "log Z": "Log normaliser of a tilted prior, in nats. The error of the NLL includes its "
        "error. The numbers in brackets are the lower and the upper end that annealed importance "
        "sampling gives."
    },
    compute=_log_norm,
    cells=_log_norm_cells,
    settings=(
        "log_norm",
        "log_norm_samples",
        "log_norm_chains",
        "log_norm_temperatures",
        "seed",
    ),
    applies=lambda subject: bool(subject.model.tilts),
    still_holds=_still_known,
)


def _nll(subject: Subject) -> Estimate:
    config, x = subject.config, subject.x
    journal = None
    if subject.journal is not None:
        variant = "" if config.precision == "no" else f"-{config.precision}"
        variant += "-compiled" if config.compile else ""
        of = f"{len(x)}x{config.samples}-seed{config.seed}{variant}"
        # named after the weights, so that a run that was trained on starts a journal of its own
        journal = subject.journal / f"nll-{of}-{subject.weights[:8]}.jsonl"
    with progress_bar("likelihood", len(x), unit="images", show=subject.progress) as advance:
        return estimators.nll(
            subject.model,
            x,
            samples=config.samples,
            seed=config.seed,
            precision=config.precision,
            compile=config.compile,
            resume=journal,
            report=advance,
        )


def _nll_cells(value: Mapping[str, Any]) -> dict[str, Cell]:
    diagnostics = value["diagnostics"]
    counts = f"{value['count']:,} images, {value['protocol']['samples']:,} samples"
    errors = [
        f"{error_words(value['stderr'])} MC",
        f"{error_words(value['stderr_data'])} data",
    ]
    if "bf16_difference" in diagnostics:
        difference = diagnostics["bf16_difference"]
        words = "not a number" if difference is None else f"{difference:+.3g}"
        errors.append(f"bf16 moves it by {words}")
    # the bound contains log Z, too; the other doubts are about the weights
    of_log_norm = tuple(doubt for doubt in value["warnings"] if doubt.startswith("log Z"))
    return {
        "NLL": Cell(
            number_words(value["value"]),
            (*errors, counts),
            tuple(value["warnings"]),
            values=(value["value"],),
        ),
        "ELBO": Cell(
            number_words(diagnostics["elbo"]), (), of_log_norm, values=(diagnostics["elbo"],)
        ),
        "ESS": Cell(
            number_words(diagnostics["ess_median"], 0),
            (f"min {number_words(diagnostics['ess_min'], 1)}",),
            values=(diagnostics["ess_median"],),
        ),
    }


NLL = Quantity(
    key="nll",
    meanings={
        "NLL": "Negative log-likelihood in nats per test image, by importance sampling from the "
        "encoder; lower is better. It has two errors: one from the Monte-Carlo draws on these "
        "images (MC), and one from the choice of test images (data).",
        "ELBO": "Evidence lower bound of the same images from the same draws, in nats per image.",
        "ESS": "Effective sample size of the importance weights behind the NLL: the median over "
        "the images, and the smallest. If it is small, the NLL is too high.",
    },
    compute=_nll,
    cells=_nll_cells,
    settings=("samples", "images", "precision", "compile", "seed"),
    after=("log_norm",),
    per_image=True,
)

QUANTITIES: tuple[Quantity, ...] = (LOG_NORM, NLL)
