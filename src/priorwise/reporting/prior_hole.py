"""The prior-hole report: does the prior have a hole, what does it cost, and what fills it?"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import with_settings
from priorwise.config.own_parts import NamedCode
from priorwise.config.run import EvaluationConfig
from priorwise.data import Splits, as_splits
from priorwise.data.subsets import random_part
from priorwise.estimators.base import device_of
from priorwise.evaluation import (
    EvaluationRecord,
    Subject,
    measure,
    record_of_base,
    record_of_run,
)
from priorwise.evaluation.record import plain
from priorwise.models import AbstractModel
from priorwise.progress import say
from priorwise.reporting.card import model_card
from priorwise.reporting.entries import Entry, side_by_side
from priorwise.reporting.page import render_page
from priorwise.reporting.sections import picture_sections
from priorwise.reporting.tables import contrast_table, glossary, summary_table
from priorwise.reporting.verdicts import all_doubts, headline, sentences
from priorwise.storage import write_atomically
from priorwise.training.loop import FitResult
from priorwise.training.run_data import load_splits
from priorwise.training.run_group import one_run
from priorwise.training.run_record import read_run
from priorwise.training.runner import load, load_base

__all__ = ["checked_page", "report", "report_runs"]


def report(
    model: AbstractModel,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    path: str | Path,
    *,
    models: Mapping[str, AbstractModel] | None = None,
    fits: Mapping[str, FitResult] | None = None,
    progress: bool = True,
    **settings: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> Path:
    """Write the prior-hole report of a model: one HTML page, with every number as JSON beside it.

    The report says in words whether the prior has a hole, and what other priors gain over it. The
    verdict rests on the bound that a classifier proves on held-out images. Then come the numbers
    with their errors, samples, the latent plane, and the protocol. A number that cannot be computed
    for a model, such as the likelihood with a deterministic encoder, is replaced by the reason. If
    ``model`` is an NCP and ``models`` is empty, the model underneath becomes the base. If a tilted
    model has no ``log_norm`` yet, it is estimated and kept in the model.

    A second report at the same path does not repeat measurements of the first one for the same
    weights, data and settings.

    Arguments:
        model: The base of all comparisons. Its name in the report is the one in ``models``, or
            "model".
        data: The result of ``priorwise.data.load``, or arrays, of which parts are then held out.
        path: The page; its name ends in .html. The JSON file gets the same name with .json, the
            model card with .md.
        models: Further models by name, compared with the base image by image.
        fits: Results of ``priorwise.fit`` by name, to show their training curves.
        progress: Whether to show progress bars.
        **settings: Fields of ``priorwise.config.EvaluationConfig``, such as ``samples``,
            ``images``, ``quality`` and ``seed``.

    Returns:
        Path: The page.

    Raises:
        ValueError: for a path that does not end in .html, or a setting that does not exist.
        TypeError: for something that is not a model.
    """
    path = checked_page(path)
    config = with_settings(EvaluationConfig(), settings)
    named = _named(model, models or {})
    splits = as_splits(data)
    say(f"report on {splits.describe()}", show=progress)
    records = {}
    for name, each in named.items():
        subject = Subject(each, splits, config, keeps_log_norm=True, progress=progress)
        file = path.with_name(f"{path.stem}_records") / f"{_file_name(name)}-{subject.weights}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        earlier = EvaluationRecord.read(file)
        records[name] = measure(subject, earlier, save=partial(EvaluationRecord.write, path=file))
    return _write(path, named, splits, records, fits or {}, progress=progress)


def report_runs(
    folders: Mapping[str, str | Path],
    path: str | Path,
    *,
    fits: Mapping[str, FitResult] | None = None,
    progress: bool = True,
    code: NamedCode | None = None,
    data: str | Path | None = None,
    again: bool = False,
    **settings: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> Path:
    """The prior-hole report of trained runs; measures only what their records lack.

    A single run whose prior was fitted afterwards is compared with the model underneath.

    Arguments:
        folders: Runs by the names that the report shows, the base of all comparisons first. Of a
            group of runs, the chosen member is shown.
        path: The page; its name ends in .html.
        fits: Results of their fits by name, to show their training curves.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the runs, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.
        again: Measure everything anew, as for ``priorwise.evaluation.evaluate_run``.
        **settings: Fields of ``priorwise.config.EvaluationConfig`` that replace the settings of the
            runs' evaluations.

    Raises:
        ValueError: for a path that does not end in .html, a setting that does not exist, or runs on
            different data.
    """
    path = checked_page(path)
    folders = {name: one_run(folder) for name, folder in folders.items()}
    records = {
        name: record_of_run(
            folder, progress=progress, code=code, data=data, again=again, **settings
        )
        for name, folder in folders.items()
    }
    prints = {n: record.numbers["subject"]["data_fingerprint"] for n, record in records.items()}
    if len(set(prints.values())) > 1:
        data = ", ".join(f"{n}: {records[n].numbers['subject']['data']}" for n in prints)
        raise ValueError(f"expected runs on the same data; got {data}. Report them separately.")
    # loaded now, so that a log Z that was just estimated comes with them
    models = {name: load(folder, code) for name, folder in folders.items()}
    (name, folder), *others = folders.items()
    if not others and isinstance(read_run(folder, code)[0].model, AbstractPosthocConfig):
        config = records[name].config
        base = record_of_base(folder, config, progress=progress, code=code, data=data)
        models = {"base": load_base(folder, code), **models}
        records = {"base": base, **records}
    splits = load_splits(folder, code, data=data)
    return _write(path, models, splits, records, fits or {}, progress=progress)


def _file_name(name: str) -> str:
    """Part of a file name for a model's name, which may hold any character."""
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def checked_page(path: str | Path) -> Path:
    """The path of a page.

    Raises:
        ValueError: if its name does not end in .html.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected `path` as a page that ends in .html; got {path.name!r}.")
    return path


def _named(model: AbstractModel, models: Mapping[str, AbstractModel]) -> dict[str, AbstractModel]:
    """All models by name, the base first."""
    for name, other in {"model": model, **models}.items():
        if not isinstance(other, AbstractModel):
            raise TypeError(
                f"expected {name!r} to be a priorwise model; got {type(other).__name__}. Wrap a "
                "model that was trained elsewhere: priorwise.wrap(encode=..., decode=...)."
            )
    base_name = next((name for name, other in models.items() if other is model), None)
    if base_name is not None:
        return {base_name: model, **models}
    if not models and model.untilted is not model:
        return {"base": model.untilted, type(model).__name__: model}
    if "model" in models:
        raise ValueError(
            "expected `models` without the name 'model', which the base has; got it. Choose "
            "another name."
        )
    return {"model": model, **models}


def _write(
    path: Path,
    models: Mapping[str, AbstractModel],
    splits: Splits,
    records: Mapping[str, EvaluationRecord],
    fits: Mapping[str, FitResult],
    *,
    progress: bool,
) -> Path:
    """Write the page, the JSON and the card, from the records and a few pictures."""
    entries = side_by_side(records)
    config = next(iter(records.values())).config
    content = _content(entries, splits, config)
    first = next(iter(models.values()))
    x = random_part(splits.evaluation("test"), config.images, config.seed).to(device_of(first))
    sections = picture_sections(models, splits, x, fits, config.seed, progress=progress)
    beside = path.with_suffix(".json")
    page = render_page(content, sections, json_name=beside.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside, json.dumps(plain(content), indent=2, allow_nan=False).encode())
    write_atomically(path.with_suffix(".md"), model_card(entries).encode())
    write_atomically(path, page.encode())
    return path


def _content(entries: Sequence[Entry], splits: Splits, config: EvaluationConfig) -> dict[str, Any]:
    """Everything that the page says, as plain data."""
    table = summary_table(entries)
    return {
        "title": f"Prior-hole report: {splits.spec.name}",
        "verdict": headline(entries[0]),
        "findings": sentences(entries),
        "table": table,
        "contrast": contrast_table(entries),
        "warnings": all_doubts(entries),
        "glossary": glossary([row["title"] for row in table["rows"]]),
        "protocol": _protocol(splits, config, entries),
        "models": {
            entry.name: entry.record.numbers | {"gain": entry.gain, "same_vae": entry.same_vae}
            for entry in entries
        },
    }


def _protocol(splits: Splits, config: EvaluationConfig, entries: Sequence[Entry]) -> dict[str, Any]:
    """How it was measured, for the page."""
    numbers = entries[0].record.numbers
    protocol: dict[str, Any] = {
        "data": splits.describe(),
        "data_fingerprint": numbers["subject"]["data_fingerprint"],
        "images": f"{numbers['images']} for the likelihood, the hole and the active units; the "
        "whole test set for everything else",
        "samples": config.samples,
        "seed": config.seed,
        "likelihood": "importance sampling from q(z|x), with the same noise for every model; a "
        "tilted prior has one global Z",
        "symmetric_KL": "1 nearest neighbour, one encoding per test image and as many draws of the "
        "prior",
    }
    if any(entry.number("hole") for entry in entries):
        protocol["hole"] = (
            "a dense classifier fitted to training encodings, stopped on validation encodings and "
            "judged on test encodings"
        )
    norms = [entry.number("log_norm") for entry in entries]
    if any(norms):
        protocol["log_Z"] = "; ".join(
            ", ".join(f"{key} {value}" for key, value in norm["protocol"].items())
            for norm in norms
            if norm
        )
    if splits.spec.scaling == "dequantize" and splits.spec.levels is not None:
        shift = splits.spec.features * math.log(splits.spec.levels)
        protocol["unit"] = (
            f"log densities of dequantised pixels, so an NLL may be negative; add {shift:.1f} nats "
            "to get an upper bound on the NLL of the grey levels"
        )
    versions = ", ".join(f"{name} {value}" for name, value in numbers["versions"].items())
    return protocol | {"versions": versions}
