"""The whole job on handwritten digits: train a VAE, measure its prior's hole, fill it, report."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorwise.config.run import Run
from priorwise.progress import say
from priorwise.recipes.registry import packaged_recipe
from priorwise.reporting import report_runs
from priorwise.reporting.tables import print_table
from priorwise.training.loop import FitResult
from priorwise.training.runner import train_run

__all__ = ["DemoResult", "demo"]

_QUICK: dict[str, Any] = {"epochs": 2}
_QUICK_EVALUATION: dict[str, Any] = {"samples": 50, "images": 60, "log_norm_samples": 2000}


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        report: The page.
        record: The content of the page as JSON.
        rows: The rows of its table: each model with its unrounded numbers.
        findings: The findings in words, the verdict first.
    """

    report: Path
    record: Path
    rows: list[dict[str, Any]]
    findings: list[str]


def demo(
    out: str | Path, *, seed: int = 0, progress: bool = True, quick: bool = False
) -> DemoResult:
    """Train, measure, fill and report; a second call continues where the first one stopped.

    Arguments:
        out: Folder of the report and of the runs.
        seed: Seed of weights, order and draws.
        progress: Whether to show progress and the table, on standard error.
        quick: Whether to use two epochs per fit and few samples. This shows that everything works;
            the numbers mean nothing.
    """
    out = Path(out)
    fits: dict[str, FitResult] = {}
    stages = _stages(out, seed, quick=quick)
    for step, (name, (folder, run)) in enumerate(stages.items(), 1):
        say(f"{step} of {len(stages) + 1}: {name}", show=progress)
        fits[name] = train_run(run, out / folder, progress=progress)
        say(_fit_words(fits[name]), show=progress)
    say(f"{len(stages) + 1} of {len(stages) + 1}: measuring", show=progress)
    page = report_runs(
        {name: out / folder for name, (folder, _) in stages.items()},
        out / "report.html",
        fits=fits,
        progress=progress,
        seed=seed,
        **(_QUICK_EVALUATION if quick else {}),
    )
    return _result(page, progress=progress)


def _stages(out: Path, seed: int, *, quick: bool) -> dict[str, tuple[str, Run]]:
    """The fits in order: name in the report, folder, run."""
    changes = {"seed": seed, **(_QUICK if quick else {})}

    def ready(name: str) -> Run:
        run = packaged_recipe(f"digits/{name}")
        return run.model_copy(update={"training": run.training.model_copy(update=changes)})

    def over(run: Run, base: Run, folder: str) -> Run:
        on_top = {"base": base.model, "base_run": str(out / folder)}
        return run.model_copy(update={"model": run.model.model_copy(update=on_top)})

    standard = ready("standard")
    flow = over(ready("posthoc-flow"), standard, "standard")
    return {
        "standard": ("standard", standard),
        "NCP": ("ncp", over(ready("ncp"), standard, "standard")),
        "VampPrior": ("vamp", ready("vamp")),
        "mixture": ("mixture", ready("mixture")),
        "flow, afterwards": ("posthoc_flow", flow),
        "NCP over the flow": ("ncp_flow", over(ready("ncp"), flow, "posthoc_flow")),
    }


def _fit_words(fit: FitResult) -> str:
    best = "not judged" if fit.best is None else f"{fit.best:.2f} at epoch {fit.best_epoch}"
    words = f"{fit.metric.replace('_', ' ')} {best} of {fit.epochs}, {fit.seconds:.0f} s"
    return f"       {words}; the run is at {fit.folder}"


def _result(page: Path, *, progress: bool) -> DemoResult:
    path = page.with_suffix(".json")
    record = json.loads(path.read_text(encoding="utf-8"))
    findings = [record["verdict"], *record["findings"]]
    if progress:
        print_table(record["table"], title="nats on the test images; ± one standard error")
        for sentence in findings:
            say(f"- {sentence}")
        for doubt in record["warnings"]:
            say(f"warning: {doubt}")
    rows = [{"model": name, **numbers} for name, numbers in record["models"].items()]
    return DemoResult(page, path, rows, findings)
