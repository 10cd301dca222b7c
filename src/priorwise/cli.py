"""The ``priorwise`` command. Results go to standard output, progress and messages to standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from priorwise.completion import complete_data, complete_paper, complete_recipe, complete_topic
from priorwise.features.extractor_names import EXTRACTORS
from priorwise.samplers.sampler_names import SamplerName, named_sampler

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Out = Annotated[
    Path, typer.Option("--out", help="Folder of the run; an unfinished run in it goes on.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed; the recipe's own if not given.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
Code = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        metavar="FILE.py",
        help="Code of your own that the run asks for, a file or module. It is executed. May be "
        "repeated.",
    ),
]


class SpaceName(StrEnum):
    """The spaces of a model with a flow prior."""

    representation = "representation"
    generation = "generation"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record))


def _error(stderr: float | None) -> str:
    return "± unknown" if stderr is None else f"± {stderr:.3f}"


@contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends the command with a word on how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        _say("stopped; the same command goes on where it was.")
        raise typer.Exit(130) from None


def _show_version(value: bool) -> bool:
    if value:
        from importlib.metadata import version

        print(f"priorwise {version('priorwise')}")
        raise typer.Exit
    return value


@app.callback()
def command(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Finds the holes in a VAE's prior and fills them."""


@app.command()
def demo(
    out: Out = Path("demo"),
    seed: Seed = None,
    quick: Annotated[bool, typer.Option(hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """The main job on handwritten digits: train, measure the hole, fill it three ways, report."""
    from priorwise.recipes.demo import demo as run_demo

    result = run_demo(out, seed=seed or 0, quick=quick)
    if as_json:
        _print_json({"report": str(result.report), "rows": result.rows})
    else:
        print(f"The report is at {result.report}")


@app.command("list")
def list_(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A group of recipes, a data set or a paper, to see all about it.",
            autocompletion=complete_topic,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recipes by group, data sets and whether they are at hand, papers with published numbers."""
    from priorwise.recipes import listing

    if as_json:
        _print_json(listing.overview() if name is None else listing.details(name))
    else:
        print(listing.overview_text() if name is None else listing.details_text(name))


@app.command()
def train(
    recipe_name: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A name of `priorwise list`, or FILE.py:NAME, a function of yours that returns "
            "a Run.",
            autocompletion=complete_recipe,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY.PATH=VALUE", help="Settings over the recipe's, such as training.epochs=50."
        ),
    ] = None,
    out: Out = Path("run"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Your own .npz, .npy or image folder, or another data set's name.",
            autocompletion=complete_data,
        ),
    ] = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="For ncp/posthoc: the run whose prior is filled.")
    ] = None,
    seed: Seed = None,
    code: Code = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the complete run and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a folder, or go on with it. Safe to repeat after Ctrl-C or a crash."""
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
        raise ValueError(f"expected data for {recipe_name}; give them with --data FILE_OR_FOLDER.")
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
    else:
        named = "".join(f" --code {file}" for file in code_of(run))
        print(
            f"{_verdict(result)} of {result.epochs} ({result.seconds:.0f} s). Next: priorwise "
            f"evaluate {out}{named}"
        )


def _verdict(result: Any) -> str:  # noqa: ANN401 - a FitResult, which would import torch
    if result.best is None:
        return f"{result.metric} not judged, epoch {result.epochs}"
    return f"{result.metric} {result.best:.3f} at epoch {result.best_epoch}"


@app.command()
def evaluate(
    run: RunPath,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Importance samples of each image.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="A random subset of the test images.")
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(help=f"Features for distances of samples: none, {', '.join(EXTRACTORS)}."),
    ] = None,
    log_norm: Annotated[
        str | None,
        typer.Option(
            help="How log Z of a tilted prior is estimated: importance, or annealed, which "
            "brackets it."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Of the decoder in the likelihood: no (float32) or bf16."),
    ] = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Likelihood, hole, leakage and sample quality on the test set, with their errors. Resumable."""
    from priorwise.evaluation import evaluate_run
    from priorwise.reporting.tables import record_lines

    settings: dict[str, Any] = {
        "samples": samples,
        "images": images,
        "quality": quality,
        "log_norm": log_norm,
        "precision": precision,
        "seed": seed,
    }
    with _resumable():
        record = evaluate_run(run, code=code, **settings)
    if as_json:
        _print_json(record.numbers)
    else:
        print("\n".join(record_lines(record)))


@app.command()
def sample(
    run: RunPath,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 64,
    sampler: Annotated[
        SamplerName, typer.Option(help="How latents are drawn; default is the model's own way.")
    ] = SamplerName.default,
    proposals: Annotated[int, typer.Option(min=1, help="Proposals of SIR.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a chain.")] = 200,
    step_size: Annotated[float, typer.Option(help="Step size of a chain.")] = 0.05,
    temperature: Annotated[
        float, typer.Option(help="Factor of the prior's standard deviations.")
    ] = 1.0,
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw from the decoder instead of showing its means.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A .png grid or an .npz of arrays; RUN/samples.png if not given."
        ),
    ] = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """New images from a trained run."""
    from priorwise.reporting.pictures import save_samples
    from priorwise.training.runner import load

    model = load(run, code)
    chosen = named_sampler(
        sampler,
        proposals=proposals,
        steps=steps,
        step_size=step_size,
        temperature=temperature,
    )
    if chosen is None and temperature != 1.0:
        raise ValueError(
            "expected a sampler beside --temperature; got none. The model's own is "
            f"{model.default_sampler}: name it by --sampler."
        )
    x = model.sample(count, chosen, mean=not draw, seed=seed if seed is not None else 0)
    path = save_samples(x, out if out is not None else run / "samples.png")
    if as_json:
        _print_json(
            {"samples": str(path), "count": count, "sampler": repr(chosen or model.default_sampler)}
        )
    else:
        print(f"{count} samples by {chosen or model.default_sampler} are at {path}")


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs on the same data, the base first."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; RUN/report.html if not given.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Importance samples of each image.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="A random subset of the test images.")
    ] = None,
    quality: Annotated[
        str | None, typer.Option(help="Features for distances of samples, as for evaluate.")
    ] = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """The prior-hole report of trained runs: one HTML page and a model card.

    Reads what `evaluate` measured, and measures what is missing.
    """
    from priorwise.reporting import report_runs

    settings: dict[str, Any] = {
        "samples": samples,
        "images": images,
        "quality": quality,
        "seed": seed,
    }
    with _resumable():
        path = report_runs(
            _by_name(runs),
            out if out is not None else runs[0] / "report.html",
            code=code,
            **settings,
        )
    if as_json:
        _print_json({"report": str(path), "card": str(path.with_suffix(".md"))})
    else:
        print(f"The report is at {path}, the model card at {path.with_suffix('.md')}")


def _by_name(runs: list[Path]) -> dict[str, Path]:
    """Runs by the names of their folders, or by their paths where two folders bear one name."""
    named = {run.name: run for run in runs}
    named = named if len(named) == len(runs) else {str(run): run for run in runs}
    if len(named) < len(runs):
        raise ValueError(f"expected each run once; got {', '.join(map(str, runs))}.")
    return named


@app.command()
def traverse(
    run: RunPath,
    between: Annotated[
        tuple[int, int] | None,
        typer.Option("--between", metavar="I J", help="Two test observations, counted from 0."),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="So many random pairs of test observations.")
    ] = None,
    dimension: Annotated[
        list[int] | None,
        typer.Option(
            "--dimension",
            metavar="K",
            min=0,
            help="A latent dimension, counted from 0; may be repeated.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of a walk, both ends included.")] = 10,
    space: Annotated[
        SpaceName | None,
        typer.Option(
            help="Where walks are straight and whose dimensions vary: z (representation) or a "
            "flow prior's z0 (generation). If not given, pairs are joined in z0 where there "
            "is one, and dimensions are those of z."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A .png; RUN/traversal.png if not given.")
    ] = None,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Walks through the latent space as a picture: between pairs of test observations, and along single dimensions.

    Five pairs and the ten most active dimensions, unless --between, --pairs or --dimension says
    which.
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
        seed=seed or 0,
    )
    if as_json:
        _print_json(asdict(picture) | {"path": str(picture.path)})
    else:
        print(
            f"{len(picture.pairs)} pairs and {len(picture.dimensions)} dimensions are at "
            f"{picture.path}"
        )


@app.command()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs on the same data.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A .png.")] = Path("comparison.png"),
    draws: Annotated[
        int, typer.Option(min=1, help="Draws of which those of lowest density are shown.")
    ] = 2000,
    seed: Seed = None,
    code: Code = None,
    as_json: AsJson = False,
) -> None:
    """Runs side by side: samples, where encodings and prior lie, pockets and leaks, what the pockets decode to."""
    from priorwise.reporting.comparison import compare_runs
    from priorwise.reporting.entries import side_by_side
    from priorwise.reporting.tables import print_table, summary_table

    portraits, records = compare_runs(runs, out, draws=draws, seed=seed or 0, code=code)
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
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER", help="vampprior, dpvae, ncp or vaebm.", autocompletion=complete_paper
        ),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Also the rows for which there is no recipe here.")
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
    """Run the command; errors of the user are one message without a traceback."""
    try:
        app()
    except (ValueError, TypeError, ArithmeticError, OSError) as error:
        from priorwise.config.own_code import where_in_own_code

        where = where_in_own_code(error)
        _say(f"error: {error}" + (f"\nin your own code:\n{where}" if where else ""))
        sys.exit(2)


if __name__ == "__main__":
    main()
