"""The ``priorwise`` command: results go to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from priorwise.command_options import (
    AsJson,
    Base,
    BetweenPair,
    Code,
    Data,
    Dimensions,
    DrawSeed,
    DryRun,
    Images,
    LogNorm,
    Out,
    Overrides,
    Paper,
    PrecisionOption,
    Quality,
    RecipeName,
    RunFolder,
    RunFolders,
    SampleFile,
    Samples,
    Seed,
    SpaceOption,
    Temperature,
    Topic,
    Version,
    evaluation_settings,
)
from priorwise.samplers.sampler_names import SamplerName, named_sampler

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record))


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends the command with a message that says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        _say("stopped; run the same command again to continue.")
        raise typer.Exit(130) from None


@app.callback()
def command(version: Version = False) -> None:
    """Finds the holes in a VAE's prior and fills them."""


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: DrawSeed = 0,
    quick: Annotated[bool, typer.Option(hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """The whole job on handwritten digits: train, measure the hole, fill it five ways, report."""
    from priorwise.recipes.demo import demo as run_demo

    result = run_demo(out, seed=seed, quick=quick)
    if as_json:
        _print_json({"report": str(result.report), "rows": result.rows})
    else:
        print(f"The report is at {result.report}")


@app.command("list")
def list_(name: Topic = None, as_json: AsJson = False) -> None:
    """Recipes by group, data sets and where they are, papers with published numbers."""
    from priorwise.recipes import listing

    if as_json:
        _print_json(listing.overview() if name is None else listing.details(name))
    else:
        print(listing.overview_text() if name is None else listing.details_text(name))


@app.command()
def train(
    recipe_name: RecipeName,
    overrides: Overrides = None,
    out: Out = Path("run"),
    data: Data = None,
    base: Base = None,
    seed: Seed = None,
    code: Code = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a folder, or continue there. Safe to repeat after Ctrl-C or a crash."""
    from priorwise.config.overrides import override
    from priorwise.config.own_parts import code_of
    from priorwise.recipes import recipe
    from priorwise.training.run_record import resolve_base

    settings = list(overrides or [])
    if data is not None:
        settings.append(f"data.name={json.dumps(data)}")
    if seed is not None:
        settings.append(f"training.seed={seed}")
    run = resolve_base(recipe(recipe_name), base, code)
    run = override(run, settings)
    if not run.data.name:
        raise ValueError(f"expected data for {recipe_name}; name them with --data FILE_OR_FOLDER.")
    if dry_run:
        print(json.dumps(run.model_dump(mode="json"), indent=2))
        return
    from priorwise.training.runner import train_run

    _say(f"{run.name} on {run.data.name} into {out}")
    with _resumable():
        result = train_run(run, out)
    record = {
        "run": str(out),
        "metric": result.metric,
        "best": result.best,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "stopped": result.stopped,
    }
    if as_json:
        _print_json(record)
        return
    verdict = (
        f"{result.metric} not judged, epoch {result.epochs}"
        if result.best is None
        else f"{result.metric} {result.best:.3f} at epoch {result.best_epoch}"
    )
    options = "".join(f" --code {file}" for file in code_of(run))
    print(
        f"{verdict} of {result.epochs} ({result.seconds:.0f} s). Next: priorwise evaluate "
        f"{out}{options}"
    )


@app.command()
def evaluate(
    run: RunFolder,
    samples: Samples = None,
    images: Images = None,
    quality: Quality = None,
    log_norm: LogNorm = None,
    precision: PrecisionOption = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Likelihood, hole, leakage and sample quality on the test set, with errors. Resumable."""
    from priorwise.evaluation import evaluate_run
    from priorwise.reporting.tables import record_lines

    with _resumable():
        record = evaluate_run(
            run,
            code=code,
            **evaluation_settings(
                samples=samples,
                images=images,
                quality=quality,
                log_norm=log_norm,
                precision=precision,
                seed=seed,
            ),
        )
    if as_json:
        _print_json(record.numbers)
    else:
        print("\n".join(record_lines(record)))


@app.command()
def sample(
    run: RunFolder,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of samples.")] = 64,
    sampler: Annotated[
        SamplerName, typer.Option(help="How latents are drawn; default is the model's own sampler.")
    ] = SamplerName.default,
    proposals: Annotated[int, typer.Option(min=1, help="Proposals of SIR.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a chain.")] = 200,
    step_size: Annotated[float, typer.Option(help="Step size of a chain.")] = 0.05,
    temperature: Temperature = 1.0,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw from the decoder instead of showing its means.")
    ] = False,
    out: SampleFile = None,
    seed: DrawSeed = 0,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """New images from a trained run."""
    from priorwise.reporting.pictures import save_samples
    from priorwise.training.runner import load

    model = load(run, code)
    chosen_sampler = named_sampler(
        sampler, proposals=proposals, steps=steps, step_size=step_size, temperature=temperature
    )
    if chosen_sampler is None and temperature != 1.0:
        raise ValueError(
            "expected --sampler together with --temperature; got none. The model's own is "
            f"{model.default_sampler}: name it with --sampler."
        )
    x = model.sample(count, chosen_sampler, mean=not draw, seed=seed)
    path = save_samples(x, out if out is not None else run / "samples.png")
    words = str(chosen_sampler or model.default_sampler)
    if as_json:
        _print_json({"samples": str(path), "count": count, "sampler": words})
    else:
        print(f"{count} samples by {words} are at {path}")


@app.command()
def report(
    runs: RunFolders,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; RUN/report.html if not given.")
    ] = None,
    samples: Samples = None,
    images: Images = None,
    quality: Quality = None,
    log_norm: LogNorm = None,
    precision: PrecisionOption = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """The prior-hole report of trained runs: one HTML page and a model card.

    It reads what `evaluate` measured, and measures what is missing.
    """
    from priorwise.reporting import report_runs

    with _resumable():
        path = report_runs(
            _by_name(runs),
            out if out is not None else runs[0] / "report.html",
            code=code,
            **evaluation_settings(
                samples=samples,
                images=images,
                quality=quality,
                log_norm=log_norm,
                precision=precision,
                seed=seed,
            ),
        )
    if as_json:
        _print_json({"report": str(path), "card": str(path.with_suffix(".md"))})
    else:
        print(f"The report is at {path}, the model card at {path.with_suffix('.md')}")


def _by_name(runs: list[Path]) -> dict[str, Path]:
    """Runs by the names of their folders, or by their paths where two folders have one name."""
    folders = {run.name: run for run in runs}
    folders = folders if len(folders) == len(runs) else {str(run): run for run in runs}
    if len(folders) < len(runs):
        raise ValueError(f"expected each run once; got {', '.join(map(str, runs))}.")
    return folders


@app.command()
def traverse(
    run: RunFolder,
    between: BetweenPair = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Number of random pairs of test observations.")
    ] = None,
    dimension: Dimensions = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a walk, both ends included.")] = 10,
    space: SpaceOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .png; RUN/traversal.png if not given.")
    ] = None,
    seed: DrawSeed = 0,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Walks through the latent space as a picture.

    They lead from one test observation to another, and along single dimensions: five pairs and the
    ten most active dimensions, unless you choose with --between, --pairs or --dimension.
    """
    from priorwise.reporting import save_traversal
    from priorwise.training.run_record import read_run
    from priorwise.training.runner import load, load_splits

    if between is not None and pairs is not None:
        raise ValueError("expected --between or --pairs; got both. Leave one out.")
    everything = between is None and pairs is None and not dimension
    picture = save_traversal(
        load(run, code),
        load_splits(read_run(run, code)[0]),
        out if out is not None else run / "traversal.png",
        pairs=[between] if between is not None else pairs or (5 if everything else 0),
        dimensions=dimension or (10 if everything else 0),
        steps=steps,
        space=None if space is None else space.value,
        seed=seed,
    )
    if as_json:
        _print_json(asdict(picture) | {"path": str(picture.path)})
        return
    print(
        f"{len(picture.pairs)} pairs and {len(picture.dimensions)} dimensions are at {picture.path}"
    )


@app.command()
def compare(
    runs: RunFolders,
    out: Annotated[Path, typer.Option("--out", help="A .png.")] = Path("comparison.png"),
    draws: Annotated[
        int, typer.Option(min=1, help="Draws, of which those of lowest density are shown.")
    ] = 2000,
    seed: DrawSeed = 0,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Runs side by side as a picture.

    It shows samples, encodings and prior, pockets and leaks, and what the pockets decode to.
    """
    from priorwise.reporting.comparison import compare_runs
    from priorwise.reporting.entries import side_by_side
    from priorwise.reporting.tables import print_table, summary_table

    portraits, records = compare_runs(runs, out, draws=draws, seed=seed, code=code)
    if as_json:
        rows = {name: {"prior": row.about, **row.numbers} for name, row in portraits.items()}
        numbers = {name: record.numbers for name, record in records.items()}
        _print_json(
            {
                "comparison": str(out),
                "draws": draws,
                "median_log_q_over_p": rows,
                "evaluations": numbers,
            }
        )
        return
    if records:
        print_table(summary_table(side_by_side(records)), stderr=False)
    for name in portraits.keys() - records.keys():
        print(f"{name} has no numbers here: evaluate it first (priorwise evaluate RUN).")
    print(f"{', '.join(portraits)} side by side are at {out}")


@app.command()
def table(
    paper: Paper,
    every: Annotated[
        bool, typer.Option("--all", help="Also show the rows for which there is no recipe here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Published numbers beside ours."""
    from priorwise.recipes.published import published_beside_ours, unpublished_results

    rows = [row for row in published_beside_ours(paper) if every or row.recipe]
    extra = unpublished_results(paper)
    if as_json:
        _print_json({"paper": paper, "rows": [asdict(row) for row in rows], "more": extra})
        return
    from priorwise.recipes.view import print_table

    print_table(paper, rows, extra)


def main() -> None:
    """Run the command; a user's mistake becomes one message without a traceback."""
    try:
        app()
    except (ValueError, TypeError, ArithmeticError, OSError) as error:
        from priorwise.config.own_code import where_in_own_code

        where = where_in_own_code(error)
        _say(f"error: {error}" + (f"\nin your own code:\n{where}" if where else ""))
        sys.exit(2)


if __name__ == "__main__":
    main()
