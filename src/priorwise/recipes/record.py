"""A committed result: ``python -m priorwise.recipes.record RUN --out FILE`` turns an evaluated run into one.

The record holds the number, its errors, and the protocol: what differs from the recipe, how long it took, on what it ran.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from priorwise.recipes.catalogue import recipe
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.folder import read_record
from priorwise.training.run import NCPConfig, Run
from priorwise.training.runner import read_run

__all__ = ["result_record"]

_PUBLISHED_SAMPLES = 5000


def _changes(run: Run) -> dict[str, str]:
    """Training settings that are not the recipe's."""
    paper, ours = recipe(run.name).training.model_dump(), run.training.model_dump()
    return {name: f"{ours[name]} for {paper[name]}" for name in paper if paper[name] != ours[name]}


def result_record(folder: str | Path, *, paper: str, commit: str = "", notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The record of an evaluated run.

    Arguments:
        folder: A run folder with ``evaluation.json``.
        paper: The paper in whose table it belongs.
        commit: The commit of the code that trained it.
        notes: Further departures from the published protocol, in words.
    """
    folder = Path(folder)
    run, _, identity = read_run(folder)
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    changes = _changes(run)
    nll = evaluation["nll"]
    departures = [f"training: {', '.join(f'{name} {text}' for name, text in changes.items())}"] if changes else []
    if nll["protocol"]["samples"] != _PUBLISHED_SAMPLES:
        departures.append(f"{nll['protocol']['samples']} importance samples for {_PUBLISHED_SAMPLES}")
    base = run.model.base.prior.kind if isinstance(run.model, NCPConfig) else ""
    return {
        "recipe": run.name,
        "title": f"NCP over the {run.model.base.kind} with the {base} prior"
        if isinstance(run.model, NCPConfig)
        else run.name,
        "paper": paper,
        "dataset": run.data.name,
        "metric": "NLL nats",
        "nll": nll["value"],
        "stderr": nll["stderr"],
        "stderr_data": nll["stderr_data"],
        "elbo": nll["diagnostics"]["elbo"],
        "diagnostics": nll["diagnostics"],
        "warnings": nll["warnings"],
        "images": evaluation["images"],
        "samples": nll["protocol"]["samples"],
        "active_units": evaluation["active_units"],
        "symmetric_kl": evaluation["symmetric_kl"],
        "log_norm": evaluation.get("log_norm"),
        "contrast": evaluation.get("contrast"),
        "training": run.training.model_dump(mode="json"),
        "seconds": read_checkpoint(folder / "last.safetensors")[1]["seconds"],
        "epochs": last["epoch"],
        "best_epoch": last["best_epoch"],
        "seed": run.training.seed,
        "data_fingerprint": identity["data_fingerprint"],
        "versions": read_record(folder / "run.json")["about"],
        "commit": commit,
        "departures": [*departures, *notes],
    }


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--paper", required=True)
    parser.add_argument("--commit", default="")
    parser.add_argument("--note", action="append", default=[])
    given = parser.parse_args()
    record = result_record(given.run, paper=given.paper, commit=given.commit, notes=tuple(given.note))
    given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
