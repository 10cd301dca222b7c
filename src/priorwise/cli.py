"""The ``priorwise`` command: results go to standard output, everything else to standard error."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from priorwise.command_options import (
    Again,
    AsJson,
    BetweenPair,
    Code,
    Count,
    Dimensions,
    Draws,
    DrawSeed,
    Images,
    LogNorm,
    MovedData,
    Out,
    Pairs,
    Paper,
    PrecisionOption,
    Quality,
    RunFolder,
    RunFolders,
    SampleFile,
    Samples,
    Seed,
    SpaceOption,
    TableRuns,
    Temperature,
    Topic,
    Version,
    evaluation_settings,
)
from priorwise.interrupts import interruptible_imports
from priorwise.last_words import Interruptible, ends_in_words
from priorwise.limits import LARGEST_COUNT, LARGEST_SET
from priorwise.samplers.sampler_names import SamplerName, named_sampler
from priorwise.terminal import print_json, show
from priorwise.train_command import train

app = typer.Typer(cls=Interruptible, no_args_is_help=True, pretty_exceptions_enable=False)


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
        print_json({"report": str(result.report), "rows": result.rows})
    else:
        show(f"The report is at {result.report}")


@app.command("list")
def list_(name: Topic = None, as_json: AsJson = False) -> None:
    """Recipes by group, data sets and where they are, papers with published numbers."""
    from priorwise.recipes import listing

    if as_json:
        print_json(listing.overview() if name is None else listing.details(name))
    else:
        show(listing.overview_text() if name is None else listing.details_text(name))


app.command()(train)


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
    from priorwise.evaluation import evaluate_group, evaluate_run
    from priorwise.reporting.tables import record_lines
    from priorwise.training.run_group import stands_for_all

    settings = evaluation_settings(
        samples=samples,
        images=images,
        quality=quality,
        log_norm=log_norm,
        precision=precision,
        seed=seed,
    )
    if stands_for_all(run):
        from priorwise.reporting.group_summary import GroupSummary

        summary = GroupSummary(evaluate_group(run, code=code, data=data, again=again, **settings))
        print_json(summary.numbers) if as_json else show("\n".join(summary.lines))
        return
    record = evaluate_run(run, code=code, data=data, again=again, **settings)
    if as_json:
        print_json(record.numbers)
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
    from priorwise.models import decodes_to_means
    from priorwise.models.sampling_progress import sampling_reported
    from priorwise.progress import progress_bar
    from priorwise.reporting.pictures import save_samples
    from priorwise.training.run_group import one_run
    from priorwise.training.run_record import read_run
    from priorwise.training.runner import load

    run = one_run(run)
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
    shown = "draws" if draw or not decodes_to_means(model) else "means"
    if as_json:
        print_json({"samples": str(path), "count": count, "sampler": words, "decoder": shown})
    else:
        show(f"{count} samples by {words}, {shown} of the decoder, are at {path}")


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

    It reads what `evaluate` measured, and measures what is missing. Of several seeds it writes one
    page with means and spreads, and the page and the card of each.
    """
    from priorwise.reporting import report_group, report_runs
    from priorwise.training.run_group import one_run, stands_for_all

    path = out if out is not None else runs[0] / "report.html"
    settings = evaluation_settings(
        samples=samples,
        images=images,
        quality=quality,
        log_norm=log_norm,
        precision=precision,
        seed=seed,
    )
    if len(runs) == 1 and stands_for_all(runs[0]):
        report_group(runs[0], path, code=code, data=data, again=again, **settings)
        card = None
        words = f"The report of all seeds is at {path}, and links that of each"
    else:
        folders = {name: one_run(run) for name, run in _by_name(runs).items()}
        report_runs(folders, path, code=code, data=data, again=again, **settings)
        card = path.with_suffix(".md")
        words = f"The report is at {path}, the model card at {card}"
    if as_json:
        print_json({"report": str(path)} | ({} if card is None else {"card": str(card)}))
    else:
        show(words)


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
    from priorwise.training.run_group import one_run
    from priorwise.training.runner import load

    run = one_run(run)
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
        print_json(asdict(picture) | {"path": str(picture.path)})
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
    from priorwise.training.run_group import one_run

    runs = [one_run(run) for run in runs]
    portraits, records = compare_runs(runs, out, draws=draws, seed=seed, code=code, data=data)
    if as_json:
        numbers = comparison_json(portraits, records)
        print_json({"comparison": str(out), "draws": draws, **numbers})
        return
    if records:
        print_table(summary_table(side_by_side(records)), stderr=False)
    show("\n".join(comparison_lines(portraits, records)))
    show(f"{', '.join(portraits)} side by side are at {out}")


@app.command()
def table(
    paper: Paper,
    runs: TableRuns = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also show the rows for which there is no recipe here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Published numbers beside ours, and beside those of your own runs."""
    from priorwise.recipes.published import published_beside_ours, unpublished_results, with_runs

    rows = [row for row in published_beside_ours(paper) if every or row.recipe]
    extra = unpublished_results(paper)
    if runs:
        from priorwise.recipes.result import result_of

        results = {name: result_of(run, paper=paper) for name, run in _by_name(runs).items()}
        rows, extra = with_runs(rows, extra, results)
    if as_json:
        print_json({"paper": paper, "rows": [asdict(row) for row in rows], "more": extra})
        return
    from priorwise.recipes.view import print_table

    print_table(paper, rows, extra)


def main() -> None:
    """Run the command; a user's mistake becomes one message without a traceback."""
    with ends_in_words(), interruptible_imports():
        app()


if __name__ == "__main__":
    main()
