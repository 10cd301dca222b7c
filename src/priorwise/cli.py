"""The ``priorwise`` command: results go to standard output, everything else to standard error."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from priorwise.command_options import (
    Again,
    AsJson,
    Base,
    BetweenPair,
    Code,
    Count,
    Data,
    Dimensions,
    Draws,
    DrawSeed,
    DryRun,
    Images,
    Init,
    LogNorm,
    MovedData,
    Out,
    Overrides,
    Pairs,
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
    TensorBoardFolder,
    Topic,
    Version,
    evaluation_settings,
)
from priorwise.interrupts import interruptible_imports
from priorwise.last_words import ends_in_words
from priorwise.limits import LARGEST_COUNT, LARGEST_SET
from priorwise.samplers.sampler_names import SamplerName, named_sampler
from priorwise.terminal import say, show

_LONGEST_NAME = 300  # characters that are shown

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record))


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends the command with a message that says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; run the same command again to continue.")
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
        show(f"The report is at {result.report}")


@app.command("list")
def list_(name: Topic = None, as_json: AsJson = False) -> None:
    """Recipes by group, data sets and where they are, papers with published numbers."""
    from priorwise.recipes import listing

    if as_json:
        _print_json(listing.overview() if name is None else listing.details(name))
    else:
        show(listing.overview_text() if name is None else listing.details_text(name))


@app.command()
def train(
    recipe_name: RecipeName,
    overrides: Overrides = None,
    out: Out = Path("run"),
    data: Data = None,
    base: Base = None,
    init: Init = None,
    seed: Seed = None,
    code: Code = None,
    tensorboard: TensorBoardFolder = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a folder, or continue there. Safe to repeat after Ctrl-C or a crash."""
    from priorwise.config.overrides import override
    from priorwise.config.own_parts import code_of
    from priorwise.recipes import recipe
    from priorwise.training.decision import outlook
    from priorwise.training.run_record import resolve_base

    named = {"data.name": data, "training.seed": seed}
    values = {path: value for path, value in named.items() if value is not None}
    run = resolve_base(recipe(recipe_name), base, code)
    run = override(run, overrides or [], values)
    if dry_run:
        show(json.dumps(run.model_dump(mode="json"), indent=2))
        say(outlook(run))
        return
    if not run.data.name:
        raise ValueError(f"expected data for {recipe_name}; name them with --data FILE_OR_FOLDER.")
    from priorwise.training import TensorBoard, train_run

    callbacks = [] if tensorboard is None else [TensorBoard(tensorboard)]
    say(f"{run.name[:_LONGEST_NAME]} on {run.data.name[:_LONGEST_NAME]} into {out}")
    with _resumable():
        result = train_run(run, out, init=init, callbacks=callbacks)
    if as_json:
        _print_json({"run": str(out), **result.numbers})
        return
    options = "".join(f" --code {file}" for file in code_of(run))
    for doubt in result.warnings:
        show(f"warning: {doubt}")
    show(
        f"{result.verdict} of {result.epochs} ({result.seconds:.0f} s). Next: priorwise evaluate "
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
    data: MovedData = None,
    again: Again = False,
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
            data=data,
            again=again,
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
        show("\n".join(record_lines(record)))


@app.command()
def sample(
    run: RunFolder,
    count: Count = 64,
    sampler: Annotated[
        SamplerName, typer.Option(help="How latents are drawn; default is the model's own sampler.")
    ] = SamplerName.default,
    proposals: Annotated[
        int, typer.Option(min=1, max=LARGEST_SET, help="Proposals of SIR.")
    ] = 1000,
    steps: Annotated[int, typer.Option(min=1, max=LARGEST_COUNT, help="Steps of a chain.")] = 200,
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
    from priorwise.models.sampling_progress import sampling_reported
    from priorwise.progress import progress_bar
    from priorwise.reporting.pictures import save_samples
    from priorwise.training.run_record import read_run
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
    value_range = read_run(run, code)[1].known_range
    with progress_bar("sampling", count) as advance, sampling_reported(model, count, advance):
        x = model.sample(count, chosen_sampler, mean=not draw, seed=seed)
    path = save_samples(x, out if out is not None else run / "samples.png", value_range=value_range)
    words = str(chosen_sampler or model.default_sampler)
    if as_json:
        _print_json({"samples": str(path), "count": count, "sampler": words})
    else:
        show(f"{count} samples by {words} are at {path}")


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
    data: MovedData = None,
    again: Again = False,
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
            data=data,
            again=again,
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
        show(f"The report is at {path}, the model card at {path.with_suffix('.md')}")


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
    pairs: Pairs = None,
    dimension: Dimensions = None,
    steps: Annotated[
        int, typer.Option(min=2, max=1000, help="Steps of a walk, both ends included.")
    ] = 10,
    space: SpaceOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .png; RUN/traversal.png if not given.")
    ] = None,
    seed: DrawSeed = 0,
    data: MovedData = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Walks through the latent space as a picture.

    They lead from one test observation to another, and along single dimensions: five pairs and the
    ten most active dimensions, unless you choose with --between, --pairs or --dimension.
    """
    from priorwise.reporting import save_traversal
    from priorwise.training.run_data import load_splits
    from priorwise.training.runner import load

    if between is not None and pairs is not None:
        raise ValueError("expected --between or --pairs; got both. Leave one out.")
    everything = between is None and pairs is None and not dimension
    picture = save_traversal(
        load(run, code),
        load_splits(run, code, data=data),
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
    show(
        f"{len(picture.pairs)} pairs and {len(picture.dimensions)} dimensions are at {picture.path}"
    )


@app.command()
def compare(
    runs: RunFolders,
    out: Annotated[Path, typer.Option("--out", help="A .png.")] = Path("comparison.png"),
    draws: Draws = 2000,
    seed: DrawSeed = 0,
    data: MovedData = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Runs side by side as a picture.

    It shows samples, encodings and prior, pockets and leaks, and what the pockets decode to.
    """
    from priorwise.reporting.comparison import compare_runs, comparison_json, comparison_lines
    from priorwise.reporting.entries import side_by_side
    from priorwise.reporting.tables import print_table, summary_table

    portraits, records = compare_runs(runs, out, draws=draws, seed=seed, code=code, data=data)
    if as_json:
        numbers = comparison_json(portraits, records)
        _print_json({"comparison": str(out), "draws": draws, **numbers})
        return
    if records:
        print_table(summary_table(side_by_side(records)), stderr=False)
    show("\n".join(comparison_lines(portraits, records)))
    show(f"{', '.join(portraits)} side by side are at {out}")


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
    with ends_in_words(), interruptible_imports():
        app()


if __name__ == "__main__":
    main()
