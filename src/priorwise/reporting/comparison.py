"""Models side by side, one row each: samples, encodings and prior, and decoded pockets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from priorwise.config.own_parts import NamedCode
from priorwise.config.run import Run
from priorwise.data import as_splits
from priorwise.data.subsets import random_part, training_part
from priorwise.data.value_range import in_unit_range
from priorwise.estimators.base import device_of
from priorwise.evaluation import EvaluationRecord, kept_record
from priorwise.models import AbstractModel
from priorwise.progress import progress_bar
from priorwise.reporting.drawing import (
    ENCODINGS,
    POCKET,
    PRIOR,
    draw_images,
    draw_latents,
    draw_points,
    new_figure,
    picture_path,
    place,
    plain_axes,
    save_figure,
    write,
)
from priorwise.reporting.entries import side_by_side
from priorwise.reporting.latents import LatentPlane
from priorwise.reporting.pictures import is_images
from priorwise.reporting.portraits import (
    CLOUD,
    CONTRAST_MEANINGS,
    Portrait,
    portrait,
)
from priorwise.reporting.verdicts import all_doubts
from priorwise.training.run_data import load_splits
from priorwise.training.run_record import read_run
from priorwise.training.runner import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare_runs", "comparison_json", "comparison_lines", "save_comparison"]

_HEAD_NUMBERS = ("NLL", "hole", "two-sample test", "leakage")
_COLUMNS = 6
_IMAGES = _COLUMNS**2
_POINTS = 100
_SIDE, _GAP, _HEAD, _FOOT, _LEGEND = 3.3, 0.75, 0.68, 0.62, 0.72  # inches


def save_comparison(
    models: Mapping[str, AbstractModel],
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    path: str | Path,
    *,
    draws: int = 2000,
    records: Mapping[str, EvaluationRecord] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Portrait]:
    """Save a picture with one row for each model.

    A row shows samples; encodings, prior, pockets and leaks in z, and in z0 for a flow prior; and
    the decoded pockets.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), whose figures
        have these parts. https://arxiv.org/abs/1911.10506

    Arguments:
        models: The models by the names that the picture shows.
        data: The result of ``priorwise.data.load``, or arrays, of which parts are then held out.
            All models must accept them.
        path: The picture; its name ends in .png.
        draws: Draws from each prior and each aggregate posterior, of which those of lowest density
            are shown.
        records: The models' records by name; their main numbers stand above the rows.
        seed: Seed of all draws.
        progress: Whether to show a progress bar.

    Returns:
        dict[str, Portrait]: What the row of each model shows.

    Raises:
        ValueError: without models, for data that are neither images nor pairs of numbers, or for a
            path that does not end in .png.
    """
    path = picture_path(path)
    if not models:
        raise ValueError("expected at least one of `models`; got none.")
    splits = as_splits(data)
    x = splits.evaluation("test")
    if not is_images(x) and x[0].numel() != 2:
        raise ValueError(
            "expected images with 1 or 3 channels, or observations of two numbers, to draw them; "
            f"got shape {tuple(x.shape[1:])}."
        )
    reference = training_part(splits, seed)
    shown = min(_IMAGES if is_images(x) else _POINTS, draws)
    rows = {}
    with progress_bar("draws", 2 * draws * len(models), show=progress) as advance:
        for name, model in models.items():
            device = device_of(model)
            rows[name] = portrait(
                model,
                x.to(device),
                reference.to(device),
                shown=shown,
                draws=draws,
                seed=seed,
                report=advance,
            )
    heads = {name: f"{name}: {row.about}" for name, row in rows.items()}
    for name, record in (records or {}).items():
        heads[name] += _measured_words(record)
    shown_rows = {name: _in_unit_range(row, splits.value_range) for name, row in rows.items()}
    save_figure(_figure(shown_rows, heads, random_part(x, CLOUD, seed)), path)
    return rows


def _in_unit_range(row: Portrait, value_range: tuple[float, float]) -> Portrait:
    """A row whose images are ready to be drawn; points stay where they are."""
    if not is_images(row.samples):
        return row
    low = replace(row.low, x=in_unit_range(row.low.x, value_range))
    return replace(row, samples=in_unit_range(row.samples, value_range), low=low)


def compare_runs(
    folders: Sequence[str | Path],
    path: str | Path,
    *,
    draws: int = 2000,
    seed: int = 0,
    progress: bool = True,
    code: NamedCode | None = None,
    data: str | Path | None = None,
) -> tuple[dict[str, Portrait], dict[str, EvaluationRecord]]:
    """``save_comparison`` for trained runs, named after their folders, with their records.

    Nothing is measured here. A run has no record if it was not evaluated, or if its weights have
    changed since.

    Arguments:
        folders: The runs.
        path: A ``.png`` file.
        draws: As for ``save_comparison``.
        seed: Seed of all draws.
        progress: Whether to show a progress bar.
        code: Code of your own that may be executed for the runs, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.

    Raises:
        RunFolderError: for a folder that does not hold the run of a recipe, or data that have
            changed since a run was trained on them.
        ValueError: for a folder that is named twice, or runs whose data differ.
    """
    read = [read_run(folder, code) for folder in folders]
    prints = [identity.get("data_fingerprint") for _, _, identity in read]
    for folder, (run, _, _), fingerprint in zip(folders, read, prints, strict=True):
        if fingerprint != prints[0]:  # where the data lie does not matter
            raise ValueError(
                f"expected runs on the same data; {folders[0]} has {_data_words(read[0][0])} and "
                f"{folder} {_data_words(run)}, and their fingerprints are {prints[0]} and "
                f"{fingerprint}."
            )
    names = [Path(folder).name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(f"expected each run once; got {', '.join(names)}.")
    models = {name: load(folder, code) for name, folder in zip(names, folders, strict=True)}
    splits = load_splits(folders[0], code, data=data)
    records = {
        name: record
        for name, folder in zip(names, folders, strict=True)
        if (record := kept_record(folder, models[name], splits)) is not None
    }
    portraits = save_comparison(
        models, splits, path, draws=draws, records=records, seed=seed, progress=progress
    )
    return portraits, records


def comparison_lines(
    portraits: Mapping[str, Portrait], records: Mapping[str, EvaluationRecord]
) -> list[str]:
    """What stands below the table of a comparison: pockets and leaks in words, then all doubts."""
    lines = ["Pockets and leaks (medians of log q(z) - log p(z)):"]
    for name, row in portraits.items():
        pockets, leaks = row.numbers.values()
        lines.append(f"  {name}: pockets {pockets}; leaks {leaks}")
    lines += [f"  {title}: {meaning}" for title, meaning in CONTRAST_MEANINGS.items()]
    if records:
        lines += [f"warning: {doubt}" for doubt in all_doubts(side_by_side(records))]
    lines += [
        f"{name} has no numbers here: evaluate it first (priorwise evaluate RUN)."
        for name in portraits
        if name not in records
    ]
    return lines


def comparison_json(
    portraits: Mapping[str, Portrait], records: Mapping[str, EvaluationRecord]
) -> dict[str, Any]:
    """The numbers of a comparison with their meanings and doubts, as plain data."""
    return {
        "median_log_q_over_p": {
            name: {"prior": row.about, **{k: asdict(v) for k, v in row.numbers.items()}}
            for name, row in portraits.items()
        },
        "unit": "nats",
        "meanings": CONTRAST_MEANINGS,
        "evaluations": {name: record.numbers for name, record in records.items()},
        "warnings": all_doubts(side_by_side(records)) if records else [],
    }


def _measured_words(record: EvaluationRecord) -> str:
    """The main numbers of a record, for the head of a row."""
    cells = record.cells()
    numbers = [
        f"{title} {cells[title].marked}"
        for title in _HEAD_NUMBERS
        if title in cells and not cells[title].refused
    ]
    return f"; {', '.join(numbers)}" if numbers else ""


def _data_words(run: Run) -> str:
    return ", ".join(
        f"{key}={value}" for key, value in run.data.model_dump().items() if value is not None
    )


# -- the picture -----------------------------------------------------------------------------------


def _figure(rows: Mapping[str, Portrait], heads: Mapping[str, str], x: Tensor) -> "Figure":
    columns = 4 if any(row.z0 is not None for row in rows.values()) else 3
    height = _LEGEND + len(rows) * (_HEAD + _SIDE + _FOOT)
    figure = new_figure(columns * (_SIDE + _GAP) + 0.25, height)
    top, decoded = _LEGEND, list["Axes"]()
    for name, row in rows.items():
        write(figure, heads[name], top, weight="bold")
        cells = [
            place(figure, _GAP + column * (_SIDE + _GAP), top + _HEAD, _SIDE, _SIDE)
            for column in range(columns)
        ]
        _draw_row(cells, row, x)
        if not is_images(x):
            decoded += [cells[0], cells[-1]]
        top += _HEAD + _SIDE + _FOOT
    _square(decoded)
    _draw_legend(figure, next(iter(rows.values())))
    return figure


def _draw_legend(figure: "Figure", row: Portrait) -> None:
    """The meaning of the marks, in words and as a legend."""
    shown = len(row.low)
    words = (
        f"Pockets: of {row.low.draws} draws of the prior, the {shown} where the aggregate "
        f"posterior q(z) is lowest. Leaks: of {row.high.draws} draws of q(z), the {shown} where "
        "the prior is lowest."
    )
    write(figure, words, 0.12, size=8)
    handles = {
        name: handle
        for axes in figure.axes
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        if name != "decoded"
    }
    height = figure.get_size_inches()[1]
    style: dict[str, Any] = {
        "loc": "upper left",
        "ncols": len(handles),
        "frameon": False,
        "fontsize": 8,
    }
    anchor = (0.0, 1 - 0.3 / height)
    figure.legend(list(handles.values()), list(handles), bbox_to_anchor=anchor, **style)


def _draw_row(cells: list["Axes"], row: Portrait, x: Tensor) -> None:
    """Samples, latents, and the decoded pockets last."""
    pockets, leaks = (f"median of log q/p: {each}" for each in row.numbers.values())
    decoded = "decoded" if row.low.protocol["decoded"] == "means" else "decoded by draws"
    _draw_decoded(cells[0], row.samples, x, PRIOR, f"samples of the prior, {decoded}")
    _draw_latents(cells[1], row.z, f"z: encodings and prior\nleaks: {leaks}")
    if cells[3:] and row.z0 is not None:
        _draw_latents(cells[2], row.z0, "z0: the same, where the prior is normal")
    elif cells[3:]:
        cells[2].axis("off")
        cells[2].text(
            0.5,
            0.5,
            "no z0: this prior is not a flow",
            ha="center",
            fontsize=8,
            transform=cells[2].transAxes,
        )
    _draw_decoded(cells[-1], row.low.x, x, POCKET, f"pockets of the prior, {decoded}\n{pockets}")


def _draw_latents(axes: "Axes", plane: LatentPlane, title: str) -> None:
    draw_latents(plain_axes(axes), plane, mark=18)
    _square([axes])
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(8)
    axes.set_title(title, fontsize=9)


def _square(panels: Sequence["Axes"]) -> None:
    """Give all panels the same limits, equally long on both axes, so that each fills its place."""
    if not panels:
        return
    limits = torch.tensor([[axes.get_xlim(), axes.get_ylim()] for axes in panels])
    low, high = limits[..., 0].amin(0), limits[..., 1].amax(0)
    half = (high - low).max() / 2
    x, y = torch.stack([(low + high) / 2 - half, (low + high) / 2 + half], 1).tolist()
    for axes in panels:
        axes.set(xlim=x, ylim=y)


def _draw_decoded(axes: "Axes", decoded: Tensor, x: Tensor, colour: str, title: str) -> None:
    """A grid of images, or points on the test data."""
    if is_images(x):
        draw_images(axes, decoded, _COLUMNS)
    else:
        draw_points(plain_axes(axes), [(x, ENCODINGS, "test data"), (decoded, colour, "decoded")])
    axes.set_title(title, fontsize=9)
