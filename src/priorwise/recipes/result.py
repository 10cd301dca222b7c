"""Committed results: ``python -m priorwise.recipes.result RUN... --out FILE`` writes them.

The runs must have been evaluated. A record holds the numbers, their errors, and the protocol: the
departures from the recipe, the time, and the versions. Several seeds of a run are one record, whose
``members`` are the records of the seeds. A file holds one record or a list of them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from priorwise.checked_lines import read_line, whole_lines
from priorwise.config.models import (
    AbstractModelConfig,
    AbstractPosthocConfig,
    AbstractVAEConfig,
    FittedPriorConfig,
)
from priorwise.config.run import Run
from priorwise.evaluation import EvaluationRecord, seeds_of
from priorwise.recipes.departures import changed_settings, fewer_draws, other_data
from priorwise.storage import content_hash, write_atomically
from priorwise.tilts import tensors_without_log_norms
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.folder import read_record
from priorwise.training.run_group import one_run, stands_for_all
from priorwise.training.run_record import read_run
from priorwise.training.runner import load

__all__ = ["group_result", "result_of", "result_record"]

_QUALITY = ("name", "value", "stderr", "interval", "count", "diagnostics", "warnings")


def _values(measures: dict[str, Any]) -> dict[str, Any]:
    if "refused" in measures:
        return measures
    return {
        name: {key: measure[key] for key in ("value", "stderr")}
        for name, measure in measures.items()
    }


def _short(measure: dict[str, Any]) -> dict[str, Any]:
    return measure if "refused" in measure else {name: measure[name] for name in _QUALITY}


def _quality(quality: dict[str, Any] | None) -> dict[str, Any] | None:
    """The distances with one protocol for all: the protocols differ only in what was generated."""
    if quality is None or "refused" in quality:
        return None
    short = {kind: _short(quality[kind]) for kind in ("floor", "random", "low_posterior")}
    return short | {
        "neighbours": {
            kind: _values(quality[f"{kind}_neighbours"]) for kind in ("random", "low_posterior")
        },
        "protocol": quality["random"]["protocol"],
    }


def _title(run: Run) -> str:
    if not isinstance(run.model, AbstractPosthocConfig):
        return run.name
    fitted = f" ({run.model.prior.kind})" if isinstance(run.model, FittedPriorConfig) else ""
    return f"{run.model.title}{fitted} over {_words(run.model.base)}"


def _words(base: AbstractModelConfig) -> str:
    """The model underneath in a few words."""
    if isinstance(base, FittedPriorConfig):
        return f"the {base.prior.kind} prior, fitted to the codes of {_words(base.base)}"
    prior = f" with the {base.prior.kind} prior" if isinstance(base, AbstractVAEConfig) else ""
    return f"the {base.model_dump()['kind']}{prior}"


def result_record(
    folder: str | Path, *, paper: str, commit: str = "", notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The record of an evaluated run.

    Arguments:
        folder: A run folder with ``evaluation.json``.
        paper: The paper whose table shows it.
        commit: The commit of the code that trained it.
        notes: Further departures from the published protocol, in words.

    Raises:
        ValueError: for a run that was not evaluated since it was trained, or a model without a
            likelihood.
    """
    folder = Path(folder)
    run, spec, identity = read_run(folder)
    record = EvaluationRecord.read(folder / "evaluation.json")
    if record is None:
        raise ValueError(
            f"expected an evaluated run; got no record in {folder}. Run `priorwise evaluate "
            f"{folder}` first."
        )
    evaluation = record.numbers
    last = read_line(whole_lines(folder / "metrics.jsonl")[-1])
    changes = changed_settings(run, spec)
    nll = evaluation["nll"]
    if "refused" in nll:
        raise ValueError(
            f"expected a run with a likelihood, which the table shows; {folder} has none: "
            f"{nll['refused']}"
        )
    if evaluation["subject"]["weights"] != content_hash(tensors_without_log_norms(load(folder))):
        raise ValueError(
            f"expected a record of the weights that {folder} has now; it was trained on since it "
            f"was evaluated. Run `priorwise evaluate {folder}` again."
        )
    departures = (
        [f"training: {', '.join(f'{name} {text}' for name, text in changes.items())}"]
        if changes
        else []
    )
    others = other_data(run, spec, identity["data_fingerprint"])
    departures += [others] if others else []
    departures += fewer_draws(run, nll, evaluation["settings"].get("nll", {}))
    return {
        "recipe": run.name,
        "title": _title(run),
        "paper": paper,
        "dataset": run.data.name,
        "dimensions": spec.features,
        "metric": "NLL nats",
        "nll": nll["value"],
        "stderr": nll["stderr"],
        "stderr_data": nll["stderr_data"],
        "elbo": nll["diagnostics"]["elbo"],
        "diagnostics": nll["diagnostics"],
        "warnings": nll["warnings"],
        "images": evaluation["images"],
        "samples": nll["protocol"]["samples"],
        "draws_seed": nll["protocol"].get("seed"),
        "active_units": evaluation["active_units"],
        "symmetric_kl": evaluation["symmetric_kl"],
        "two_sample": evaluation.get("two_sample"),
        "leakage": evaluation.get("leakage"),
        "disentanglement": evaluation.get("disentanglement"),
        "quality": _quality(evaluation.get("quality")),
        "log_norm": evaluation.get("log_norm"),
        "contrast": evaluation.get("contrast"),
        "training": run.training.model_dump(mode="json"),
        "seconds": read_checkpoint(folder / "last.safetensors")[1]["seconds"],
        "epochs": last["epoch"],
        "best_epoch": last["best_epoch"],
        "seed": run.training.seed,
        "data_fingerprint": identity["data_fingerprint"],
        "other_data": bool(others),
        "versions": read_record(folder / "run.json")["about"],
        "commit": commit,
        "departures": [*departures, *notes],
    }


def group_result(
    folder: str | Path, *, paper: str, commit: str = "", notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The record of several evaluated seeds of a run, which a table shows as one result.

    Arguments:
        folder: The group of runs.
        paper: As for ``result_record``.
        commit: As for ``result_record``.
        notes: As for ``result_record``. That a seed has no result is noted by itself.

    Raises:
        ValueError: as ``result_record``, and if the group holds no seeds that were trained.
    """
    group = seeds_of(folder)
    missing = tuple(f"{name} {words.rstrip('.')}" for name, words in group.missing.items())
    members = [
        result_record(member, paper=paper, commit=commit, notes=(*notes, *missing))
        for member in group.finished.values()
    ]
    shared = ("recipe", "title", "paper", "dataset", "metric")
    return {
        **{name: members[0][name] for name in shared},
        "seeds": [member["seed"] for member in members],
        "members": members,
    }


def result_of(
    folder: str | Path, *, paper: str, commit: str = "", notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The record of an evaluated run, or of several seeds of it; see ``result_record``."""
    if stands_for_all(folder):
        return group_result(folder, paper=paper, commit=commit, notes=notes)
    return result_record(one_run(folder), paper=paper, commit=commit, notes=notes)


def _text(records: list[dict[str, Any]]) -> str:
    """JSON: a single record over several lines, or several records with one line each."""
    if len(records) == 1:
        return json.dumps(records[0], indent=2) + "\n"
    return "[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n"


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--commit", default="")
    parser.add_argument("--note", action="append", default=[])
    options = parser.parse_args()
    records = [
        result_of(run, paper=options.paper, commit=options.commit, notes=tuple(options.note))
        for run in options.run
    ]
    write_atomically(options.out, _text(records).encode())


if __name__ == "__main__":
    _main()
