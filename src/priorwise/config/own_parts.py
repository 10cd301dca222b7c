"""Parts of a run that are code of the user's, and the rule of what may be executed.

A ``Run`` in hand is trusted: its maker named the code in it. A ``run.json`` is data, perhaps
downloaded, and is not. So it keeps the name of a file without its folder, and it is read back only
with files and modules that the user names again, which take the places of those names.
"""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, JsonValue

from priorwise.config.base import AbstractConfig
from priorwise.config.own_code import CodePath, OwnCodeError, is_code_file, own_code

__all__ = [
    "AbstractOwnPart",
    "NamedCode",
    "code_hashes",
    "code_of",
    "stored",
    "warn_of_changed_code",
    "with_code",
]

NamedCode: TypeAlias = str | Path | Sequence[str | Path]
"""Files and modules that the user lets run."""

Config = TypeVar("Config", bound=AbstractConfig)


def _as_path(value: object) -> object:
    """A class or function as its path; a text of that form, or empty until an override sets it."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return str(CodePath.of(value))
    if isinstance(value, str) and value:
        CodePath.parse(value)
    return value


class AbstractOwnPart(AbstractConfig):
    """What all parts share that are code of the user's. To validate one runs nothing."""

    kind: Literal["own"] = "own"
    path: Annotated[str, BeforeValidator(_as_path)] = ""
    """FILE.py:NAME, from the working directory, or package.module:NAME; in Python also the class or
    function itself."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keywords of the call."""

    def _made(self, what: str, kind: type, *arguments: object) -> Any:  # noqa: ANN401
        """What the user's class or function returns; executing its file moves no random numbers.

        Arguments:
            what: What it should be, in words.
            kind: The class that says so.
            arguments: What it is called with, before the options.

        Raises:
            OwnCodeError: if there is no such code, it fails, or it returns something else.
        """
        from priorwise.randomness import seeded

        path = _path_of(self)
        with seeded(0, "own code"):
            code = own_code(path.code)
        made = code.call(path.name, *arguments, **self.options)
        if not isinstance(made, kind):
            raise OwnCodeError(f"expected {path} to return {what}; got {type(made).__name__}.")
        return made


def _path_of(part: AbstractOwnPart) -> CodePath:
    if not part.path:
        raise OwnCodeError(
            f"expected `path` for the part of kind=own in {type(part).__name__}; got none. Set "
            "it to FILE.py:NAME."
        )
    return CodePath.parse(part.path)


def _own_parts(config: AbstractConfig) -> Iterator[AbstractOwnPart]:
    """The user's own parts in a configuration, those of its parts included."""
    if isinstance(config, AbstractOwnPart):
        yield config
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, AbstractConfig):
            yield from _own_parts(value)


def _changed(config: Config, change: Callable[[AbstractOwnPart], str]) -> Config:
    """The configuration with other paths in the user's own parts."""
    parts = {name: getattr(config, name) for name in type(config).model_fields}
    update: dict[str, Any] = {
        name: _changed(part, change)
        for name, part in parts.items()
        if isinstance(part, AbstractConfig)
    }
    if isinstance(config, AbstractOwnPart):
        update["path"] = change(config)
    return config.model_copy(update=update)


def stored(run: Config) -> Config:
    """The run as it is kept in a folder: with the names of files, and not where they lie.

    Raises:
        OwnCodeError: if two files in different folders bear one name, or a path is missing.
    """
    places: dict[str, Path] = {}
    for path in map(_path_of, _own_parts(run)):
        place = Path(path.code).expanduser().resolve()
        if is_code_file(path.code) and places.setdefault(path.file_name, place) != place:
            raise OwnCodeError(
                "expected files of different names for the parts of your own; got "
                f"{places[path.file_name]} and {place}. Rename one."
            )

    def name(part: AbstractOwnPart) -> str:
        path = _path_of(part)
        return str(CodePath(path.file_name, path.name))

    return _changed(run, name)


def with_code(run: Config, code: NamedCode | None, source: str | Path) -> Config:
    """A run that was read from a folder, its own parts found in the code that the user names.

    Nothing is executed. The folder says which name of a file or module it asks for; where the file
    lies, and whether it may run, says the user alone.

    Arguments:
        run: What was read.
        code: Files and modules that may be executed.
        source: The folder, for the messages.

    Raises:
        OwnCodeError: if the run asks for code that is not named, or is named wrongly.
    """
    named = _named(code)
    return _changed(run, lambda part: str(_allowed(_path_of(part), named, source)))


def _named(code: NamedCode | None) -> dict[str, str]:
    """What the user named, by the name under which runs ask for it."""
    listed = [] if code is None else [code] if isinstance(code, str | Path) else list(code)
    named: dict[str, str] = {}
    for entry in map(str, listed):
        if is_code_file(entry):
            path = Path(entry).expanduser().resolve()
            if not path.is_file():
                raise OwnCodeError(f"expected a Python file for --code; there is none at {path}.")
            name, place = path.name, str(path)
        elif ":" in entry:
            raise OwnCodeError(
                f"expected a file or module for --code, without the name in it; got {entry!r}. "
                f"Give {entry.rpartition(':')[0]}."
            )
        else:
            name = place = entry
        if named.setdefault(name, place) != place:
            raise OwnCodeError(
                f"expected files of different names for --code; got {named[name]} and {place}."
            )
    return named


def _allowed(path: CodePath, named: Mapping[str, str], source: str | Path) -> CodePath:
    if path.code != path.file_name:
        raise OwnCodeError(
            f"expected {source} to name a file of its user's without a folder; got {path.code!r}, "
            "which priorwise does not write. Nothing was executed."
        )
    if path.code in named:
        return CodePath(named[path.code], path.name)
    example = f"path/to/{path.code}" if is_code_file(path.code) else path.code
    others = f" You named {', '.join(named)}." if named else ""
    raise OwnCodeError(
        f"{source} was trained with code that is no part of priorwise: {path.name} of {path.code}. "
        f"To use the run, this code must be executed.{others} If you have it and trust it, add "
        f"--code {example} (in Python: code={example!r})."
    )


def code_of(run: AbstractConfig) -> list[str]:
    """The files and modules in which the parts of a run stand that are the user's own, each once."""
    return list(dict.fromkeys(_path_of(part).code for part in _own_parts(run)))


def code_hashes(run: AbstractConfig) -> dict[str, str]:
    """The hash of each file in which a part of the user's own stands, as it was executed."""
    paths = map(_path_of, _own_parts(run))
    return {f"code {path.file_name}": own_code(path.code).content_hash for path in paths}


def warn_of_changed_code(run: AbstractConfig, about: Mapping[str, Any], source: str | Path) -> None:
    """Tell which of the user's files are not what they were when the run was trained."""
    for name, now in code_hashes(run).items():
        before = about.get(name)
        if before != now:
            warnings.warn(
                f"{name.removeprefix('code ')} has changed since {source} was trained (hash "
                f"{before} then, {now} now): the weights may belong to another model.",
                stacklevel=3,
            )
