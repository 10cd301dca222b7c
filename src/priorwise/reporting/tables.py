"""The tables of a report as plain data, and as text in a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from priorwise.estimators import Estimate, GroupContrast
from priorwise.reporting.measurement import Measurement, Refusal, Verdict
from priorwise.reporting.verdicts import gain_error

__all__ = ["GLOSSARY", "contrast_table", "print_table", "summary_table"]

GLOSSARY: dict[str, str] = {
    "NLL": "Negative log-likelihood of a test image in nats, by importance sampling from the "
    "encoder; lower is better. Two errors: MC of the Monte-Carlo draws on these images, "
    "data of the choice of test images.",
    "gain": "How many nats lower the NLL is than that of the first model, compared image by "
    "image, with the error of that difference; positive is better. It is far surer than "
    "the two NLLs seen apart.",
    "sKL": "KL(q || p) + KL(p || q) between encodings and prior of the top group, by nearest "
    "neighbours on one encoding an image and as many draws of the prior; 0 if they "
    "agree. In many dimensions and for large divergences it is far too low, and it may "
    "fall below 0: no verdict rests on it.",
    "hole": "Jensen-Shannon divergence between encodings and prior that a classifier proves on "
    "images that it was not fitted on; a lower bound, 0 to 0.69 nats. The verdict rests "
    "on it, and calls a hole deep from 0.17, a quarter of log 2. The classifiers of an "
    "NCP judge the prior underneath; whether a hole is left in its own, the two-sample "
    "test of `priorwise evaluate` says.",
    "ESS": "Effective sample size of the importance weights behind the NLL: median over the "
    "images, and the smallest. Small ones mean an NLL that is too high.",
    "log Z": "Log normaliser of the prior in nats; 0 for a prior that is normalised as it "
    "stands. Its error is part of MC.",
    "active": "Latent dimensions whose posterior mean varies over the images by more than 0.01, "
    "of all, group by group.",
}


def _cell(text: str, *small: str, refused: bool = False) -> dict[str, Any]:
    return {"text": text, "small": list(small), "refused": refused}


def _error(value: float) -> str:
    """A standard error with the digits that it needs: a small one is not shown as none."""
    return f"± {value:.2f}" if value >= 0.005 or value == 0 else f"± {value:.4f}"


def _refused(refusal: Refusal) -> dict[str, Any]:
    return _cell("none", refusal.reason, refused=True)


def _nll(measurement: Measurement) -> dict[str, Any]:
    nll = measurement.nll
    if isinstance(nll, Refusal):
        return _refused(nll)
    mark = " (!)" if nll.warnings else ""
    data = float("nan") if nll.stderr_data is None else nll.stderr_data
    return _cell(f"{nll.value:.2f}{mark}", f"{_error(nll.stderr)} MC", f"{_error(data)} data")


def _gain(measurement: Measurement) -> dict[str, Any]:
    if measurement.gain is None:
        return _cell("base")
    if isinstance(measurement.gain, Refusal):
        return _refused(measurement.gain)
    return _cell(f"{measurement.gain.value:+.2f}", _error(gain_error(measurement.gain)))


def _estimate(estimate: Estimate | Refusal) -> dict[str, Any]:
    if isinstance(estimate, Refusal):
        return _refused(estimate)
    return _cell(
        f"{estimate.value:.2f}{' (!)' if estimate.warnings else ''}", _error(estimate.stderr)
    )


def _log_norm(measurement: Measurement) -> dict[str, Any]:
    exact = (
        isinstance(measurement.log_norm, Estimate)
        and measurement.log_norm.count == measurement.log_norm.stderr == 0
    )
    return _cell("0", "exact") if exact else _estimate(measurement.log_norm)


def _hole(measurement: Measurement) -> dict[str, Any]:
    verdict = measurement.verdict
    if isinstance(verdict, Refusal):
        return _refused(verdict)
    if measurement.tilted:
        return _cell("not judged")
    text = " / ".join(f"{group.jsd:.3f}" for group in verdict.groups)
    return _cell(text, "± " + " / ".join(f"{group.bce_stderr / 2:.3f}" for group in verdict.groups))


def _ess(measurement: Measurement) -> dict[str, Any]:
    if isinstance(measurement.nll, Refusal):
        return _cell("none", refused=True)
    found = measurement.nll.diagnostics
    return _cell(f"{found['ess_median']:.0f}", f"min {found['ess_min']:.1f}")


def _units(measurement: Measurement) -> dict[str, Any]:
    if isinstance(measurement.units, Refusal):
        return _refused(measurement.units)
    return _cell(" / ".join(f"{unit.active} of {unit.dimensions}" for unit in measurement.units))


_COLUMNS = {
    "NLL": _nll,
    "gain": _gain,
    "sKL": lambda measurement: _estimate(measurement.symmetric_kl),
    "hole": _hole,
    "ESS": _ess,
    "log Z": _log_norm,
    "active": _units,
}


def summary_table(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """One row a model: ``headings`` and ``rows`` of cells with a text, small print, and whether a number was refused."""
    rows = [
        {
            "model": measurement.name,
            "about": measurement.about,
            "cells": [cell(measurement) for cell in _COLUMNS.values()],
        }
        for measurement in measurements
    ]
    return {"headings": list(_COLUMNS), "rows": rows}


def contrast_table(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """One row a model and latent group: what its classifiers say; the same classifiers are shown once."""
    headings = ["group", "BCE (sum)", "BCE (mean)", "JSD", "E_p[r]", "ESS of SIR"]
    rows = []
    shown: list[list[GroupContrast]] = []
    for measurement in measurements:
        if not isinstance(measurement.verdict, Verdict) or measurement.verdict.groups in shown:
            continue
        shown.append(measurement.verdict.groups)
        for group in measurement.verdict.groups:
            sizes = ", ".join(f"{size:.0f} of {proposals}" for proposals, size in group.ess.items())
            cells = [
                _cell(str(group.group)),
                _cell(f"{group.bce:.3f}", f"± {group.bce_stderr:.3f}"),
                _cell(f"{group.bce_mean:.3f}", f"± {group.bce_stderr / 2:.3f}"),
                _cell(f"{group.jsd:.3f}", f"± {group.bce_stderr / 2:.3f}"),
                _cell(f"{group.calibration:.2f}", f"± {group.calibration_stderr:.2f}"),
                _cell(sizes),
            ]
            rows.append(
                {"model": measurement.name, "about": measurement.verdict.source, "cells": cells}
            )
    return {"headings": headings, "rows": rows}


def print_table(table: Mapping[str, Any], *, title: str | None = None, stderr: bool = True) -> None:
    """Print a table of plain data in the terminal, on standard error unless told otherwise."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    grid.add_column("model", no_wrap=True)
    for heading in table["headings"]:
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in table["rows"]:
        shown = [
            [cell["text"], *([] if cell["refused"] else cell["small"])] for cell in row["cells"]
        ]
        grid.add_row(Text(row["model"]), *(Text("\n".join(lines)) for lines in shown))
    Console(stderr=stderr).print(grid)
