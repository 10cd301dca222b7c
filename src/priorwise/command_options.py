"""Arguments and options of the ``priorwise`` command, each with its help, and what they stand for.

An option that one command alone has, and that needs few words, stands with its command in ``cli``.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from priorwise.completion import complete_data, complete_paper, complete_recipe, complete_topic
from priorwise.features.extractor_names import EXTRACTORS
from priorwise.limits import LARGEST_COUNT, LARGEST_SEED, LARGEST_SET

__all__ = [
    "Again",
    "AsJson",
    "Base",
    "BetweenPair",
    "Code",
    "Count",
    "Data",
    "Dimensions",
    "DrawSeed",
    "Draws",
    "DryRun",
    "Images",
    "Init",
    "Jobs",
    "LogNorm",
    "MovedData",
    "Out",
    "Overrides",
    "Pairs",
    "Paper",
    "PrecisionOption",
    "Quality",
    "RecipeName",
    "RunFolder",
    "RunFolders",
    "SampleFile",
    "Samples",
    "Seed",
    "Seeds",
    "SpaceName",
    "SpaceOption",
    "TableRuns",
    "Temperature",
    "TensorBoardFolder",
    "Topic",
    "Version",
    "evaluation_settings",
]


class SpaceName(StrEnum):
    """The spaces of a model with a flow prior."""

    representation = "representation"
    generation = "generation"


def _show_version(value: bool) -> bool:
    if value:
        from importlib.metadata import version

        print(f"priorwise {version('priorwise')}")
        raise typer.Exit
    return value


# -- what a command works on -----------------------------------------------------------------------

RecipeName: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A name from `priorwise list`, or FILE.py:NAME for a function of yours that returns "
        "a Run.",
        autocompletion=complete_recipe,
    ),
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY.PATH=VALUE",
        help="Settings that replace the recipe's, such as training.epochs=50.",
    ),
]
Topic: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="A group of recipes, a data set or a paper: show everything about it.",
        autocompletion=complete_topic,
    ),
]
Paper: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="PAPER", help="vampprior, dpvae, ncp or vaebm.", autocompletion=complete_paper
    ),
]
RunFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, or of several seeds of it.")
]
RunFolders: TypeAlias = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Folders of runs on the same data, the base first."),
]
TableRuns: TypeAlias = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN...",
        help="Your own evaluated runs of the paper's recipes; several seeds are one result.",
    ),
]
Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Your own .npz, .npy or image folder, or the name of another data set.",
        autocompletion=complete_data,
    ),
]
Base: TypeAlias = Annotated[
    Path | None, typer.Option("--base", help="For ncp/posthoc: the run whose prior is filled.")
]
Init: TypeAlias = Annotated[
    Path | None,
    typer.Option("--init", help="A run of the same model, from whose best weights to start."),
]
MovedData: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Where the data of the run lie now, if they have moved.",
        autocompletion=complete_data,
    ),
]
Code: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        metavar="FILE.py",
        help="Your own code that the run asks for: a file or a module. It is executed. May be "
        "repeated.",
    ),
]

# -- what every command may be asked ---------------------------------------------------------------

Out: TypeAlias = Annotated[
    Path, typer.Option("--out", help="Folder of the run. An unfinished run in it is continued.")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output.")
]
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, max=LARGEST_SEED, help="Seed; without it, the one of the recipe."
    ),
]
Seeds: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seeds",
        min=1,
        max=LARGEST_SET,
        help="Train so many seeds, counted from --seed, each into a folder of its own in --out. A "
        "larger number extends them.",
    ),
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        max=LARGEST_SET,
        help="How many seeds or candidates are trained at once, each with its share of the "
        "threads; 1 if not given.",
    ),
]
DrawSeed: TypeAlias = Annotated[
    int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of the draws.")
]
Version: TypeAlias = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Print the complete run and stop; it needs no data.")
]
TensorBoardFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard", metavar="FOLDER", help="Also write the curves for TensorBoard there."
    ),
]

# -- how a model is measured -----------------------------------------------------------------------

Samples: TypeAlias = Annotated[
    int | None, typer.Option(min=1, max=LARGEST_COUNT, help="Importance samples per image.")
]
Images: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="N|all", help="Number of test images for the likelihood, drawn at random, or all."
    ),
]
Quality: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Features in which samples are compared with test images: "
        f"{', '.join(['none', *EXTRACTORS])}."
    ),
]
LogNorm: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="How to estimate log Z of a tilted prior: importance, or annealed, which brackets it."
    ),
]

PrecisionOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Of the decoder in the likelihood: no (float32), or bf16, whose cost is shown.",
    ),
]

Again: TypeAlias = Annotated[
    bool,
    typer.Option("--again", help="Measure everything anew, also if an evaluation was larger."),
]

# -- how images are drawn --------------------------------------------------------------------------

Count: TypeAlias = Annotated[
    int, typer.Option("--count", "-n", min=1, max=LARGEST_SET, help="Number of samples.")
]
Draws: TypeAlias = Annotated[
    int,
    typer.Option(min=1, max=LARGEST_SET, help="Draws, of which those of lowest density are shown."),
]
Pairs: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=LARGEST_SET, help="Number of random pairs of test observations."),
]
SampleFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", help="A .png grid or an .npz of arrays; RUN/samples.png if not given."),
]
Temperature: TypeAlias = Annotated[
    float, typer.Option(help="Factor of the prior's standard deviations.")
]
BetweenPair: TypeAlias = Annotated[
    tuple[int, int] | None,
    typer.Option("--between", metavar="I J", help="Two test observations, counted from 0."),
]
Dimensions: TypeAlias = Annotated[
    list[int] | None,
    typer.Option(
        "--dimension",
        metavar="K",
        min=0,
        help="A latent dimension, counted from 0; may be repeated.",
    ),
]
SpaceOption: TypeAlias = Annotated[
    SpaceName | None,
    typer.Option(
        help="The space in which walks are straight and dimensions vary: z (representation) or "
        "the z0 of a flow prior (generation). Without it, pairs are joined in z0 if there is one, "
        "and dimensions are those of z."
    ),
]


def evaluation_settings(*, images: str | None, **others: str | int | None) -> dict[str, Any]:
    """The settings of an evaluation that the command line names.

    Arguments:
        images: A number or "all"; None if it was not given.
        others: Further settings, None if they were not given.

    Raises:
        ValueError: for a number of images that is none.
    """
    settings: dict[str, Any] = {key: value for key, value in others.items() if value is not None}
    if images is None:
        return settings
    if images != "all" and not images.isdecimal():
        raise ValueError(f"expected --images as a number or all; got {images!r}.")
    return settings | {"images": None if images == "all" else int(images)}
