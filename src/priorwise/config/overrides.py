"""``key.path=value`` settings for a complete run; an unknown field is told with the nearest one."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from priorwise.config.base import AbstractConfig
from priorwise.config.problems import in_words
from priorwise.config.run import Run
from priorwise.config.values import ValueTextError, parse_value
from priorwise.data.spec import DataSpec
from priorwise.nearest import did_you_mean, suggestion
from priorwise.reading import shortened

__all__ = ["OverrideError", "described_data", "override", "validated", "with_settings"]

_PROBLEMS = 8  # that are listed
_LONGEST_WORDS = 300  # characters of a message that is not ours

Config = TypeVar("Config", bound=AbstractConfig)


class OverrideError(ValueError):
    """A setting that the run does not have, or a value that it cannot take."""


def _parsed(text: str) -> tuple[list[str], Any]:
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise OverrideError(
            f"expected an override of the form key.path=value; got {shortened(text)}."
        )
    try:
        parsed = parse_value(value)
    except ValueTextError as error:
        raise OverrideError(
            f"expected a value that reads as YAML in {shortened(text)}; {error}"
        ) from error
    # YAML reads yes, no, on and off as truth values, but here `no` is a precision.
    if isinstance(parsed, bool) and value.lower() not in ("true", "false"):
        parsed = value
    return path.split("."), parsed


def _set(record: dict[str, Any], path: list[str], value: Any) -> None:  # noqa: ANN401
    """Set one value in a nested record; a new ``kind`` resets its part to that kind's defaults."""
    *parents, leaf = path
    whole = record
    for depth, name in enumerate(parents):
        if not isinstance(record.get(name), dict):
            raise OverrideError(_no_field(".".join(parents[: depth + 1]), name, record))
        record = record[name]
    # The options of the user's own code may have any name.
    if leaf not in record and parents[-1:] != ["options"]:
        raise OverrideError(_no_field(".".join(path), leaf, record, _places_of(leaf, whole)))
    if leaf == "kind" and record.get("kind") != value:
        record.clear()
    record[leaf] = value


def _places_of(name: str, record: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The paths of the fields of this name, such as ``training.epochs``."""
    places = [f"{prefix}{name}"] if name in record else []
    for field, part in record.items():
        if isinstance(part, Mapping):
            places += _places_of(name, part, f"{prefix}{field}.")
    return places


def _no_field(path: str, name: str, record: Mapping[str, Any], places: Sequence[str] = ()) -> str:
    hint = did_you_mean(places[:3]) or suggestion(name, record)
    return f"unknown field {shortened(path)}.{hint} There are: {', '.join(record)}."


def _path(location: Sequence[str | int], record: Any) -> str:  # noqa: ANN401
    """The path of a field as the user writes it, without the kinds that pydantic adds to it."""
    *parents, leaf = location
    names = []
    for part in parents:
        if not isinstance(record, Mapping) or part in record:
            names.append(str(part))
            record = record[part] if isinstance(record, Mapping) else None
    return ".".join([*names, str(leaf)])


def _problem(problem: Mapping[str, Any], record: object) -> str:
    """One problem in words.

    A problem of the run as a whole has no path, and its input would be the whole run, so only the
    message is shown.
    """
    if not problem["loc"]:
        return problem["msg"].removeprefix("Value error, ")[:_LONGEST_WORDS]
    return f"{_path(problem['loc'], record)[:_LONGEST_WORDS]}: {in_words(problem)}"


def _listed(problems: list[str]) -> str:
    """The first problems, one a line; a damaged record may have thousands."""
    more = len(problems) - _PROBLEMS
    rest = [f"and {more} more"] if more > 0 else []
    return "\n  ".join([*problems[:_PROBLEMS], *rest])


def validated(record: object) -> Run:
    """A run from plain data.

    Raises:
        OverrideError: if a field is unknown or a value does not fit; it lists all problems.
    """
    try:
        return Run.model_validate(record)
    except ValidationError as error:
        problems = [_problem(problem, record) for problem in error.errors()]
        raise OverrideError("the run is not valid:\n  " + _listed(problems)) from error


def described_data(record: object) -> DataSpec:
    """The description of data from plain data.

    Raises:
        OverrideError: if a field is missing or has another type.
        DataError: if the fields do not fit each other.
    """
    try:
        return TypeAdapter(DataSpec).validate_python(record)
    except ValidationError as error:
        problems = [_problem(problem, {}) for problem in error.errors()]
        raise OverrideError("the data are not described:\n  " + _listed(problems)) from error


def with_settings(config: Config, changes: Mapping[str, Any]) -> Config:
    """A configuration with some of its fields changed.

    Raises:
        OverrideError: if there is no such field, or it cannot take that value.
    """
    record = config.model_dump()
    for name in changes:
        if name not in record:
            raise OverrideError(_no_field(name, name, record))
    try:
        return type(config)(**(record | dict(changes)))
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            field = ".".join(map(str, problem["loc"][:1]))
            problems.append(f"`{field}`: {in_words(problem)}")
        raise OverrideError(". ".join(dict.fromkeys(problems)) + ".") from error


def override(
    run: Run, texts: Iterable[str], values: Mapping[str, str | int] = MappingProxyType({})
) -> Run:
    """The run with ``key.path=value`` settings applied, kinds first.

    Arguments:
        run: The run.
        texts: The settings, whose values are read as YAML.
        values: Further settings by their paths, whose values are taken as they are.

    Raises:
        OverrideError: if a field is unknown or a value does not fit.
    """
    parsed = [_parsed(text) for text in texts]
    parsed += [(path.split("."), value) for path, value in values.items()]
    for path, value in sorted(parsed, key=lambda item: (item[0][-1] != "kind", len(item[0]))):
        record = run.model_dump(mode="json")
        _set(record, path, value)
        run = validated(record)
    return run
