"""Parts of a run that are the user's own code, and the rule of what may be executed.

A ``Run`` in memory is trusted, because its author named the code in it. A ``run.json`` is data that
may have been downloaded, so it is not trusted. It stores the name of a file without its folder, and
it is read back only with files and modules that the user names again and that replace those names.
"""

import inspect
import os
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
"""Files and modules that the user allows to be executed."""

Config = TypeVar("Config", bound=AbstractConfig)


def _as_path(value: object) -> object:
    """The path of a class or function; text must be such a path, or empty until it is set."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return str(CodePath.of(value))
    if isinstance(value, str) and value:
        CodePath.parse(value)
    return value


class AbstractOwnPart(AbstractConfig):
    """A part of a run that is the user's own code; validating it executes nothing."""

    kind: Literal["own"] = "own"
    path: Annotated[str, BeforeValidator(_as_path)] = ""
    """FILE.py:NAME, relative to the working directory, or package.module:NAME. In Python it may be
    the class or function itself."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the call."""

    def _made(self, what: str, kind: type, *arguments: object) -> Any:  # noqa: ANN401
        """What the user's class or function returns.

        Executing its file does not change the state of any random generator.

        Arguments:
            what: What it should return, in words.
            kind: The class of what it should return.
            arguments: Positional arguments of the call, before the options.

        Raises:
            OwnCodeError: if there is no such code, it fails, or it returns something else.
        """
        from priorwise.randomness import seeded

        path = _path_of(self)
        with seeded(0, "own code"):
            code = own_code(path.code)
        part = code.call(path.name, *arguments, **self.options)
        if not isinstance(part, kind):
            raise OwnCodeError(f"expected {path} to return {what}; got {type(part).__name__}.")
        return part


def _path_of(part: AbstractOwnPart) -> CodePath:
    if not part.path:
        raise OwnCodeError(
            f"expected `path` for the part of kind=own in {type(part).__name__}; got none. Set "
            "it to FILE.py:NAME."
        )
    return CodePath.parse(part.path)


def _own_parts(config: AbstractConfig) -> Iterator[AbstractOwnPart]:
    """The user's own parts in a configuration, at any depth."""
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
    """The run as a folder stores it: with the names of files but not their folders.

    Raises:
        OwnCodeError: if two files in different folders have the same name, or a path is missing.
    """
    places: dict[str, Path] = {}
    for path in map(_path_of, _own_parts(run)):
        place = Path(os.path.expanduser(path.code)).resolve()
        if is_code_file(path.code) and places.setdefault(path.file_name, place) != place:
            raise OwnCodeError(
                "expected files of different names for your own parts; got "
                f"{places[path.file_name]} and {place}. Rename one of them."
            )

    def name(part: AbstractOwnPart) -> str:
        path = _path_of(part)
        return str(CodePath(path.file_name, path.name))

    return _changed(run, name)


def with_code(run: Config, code: NamedCode | None, source: str | Path) -> Config:
    """A run from a folder, whose own parts point to the code that the user names.

    Nothing is executed. The folder contains only the names of the files and modules that it needs.
    The user alone decides where a file is and whether it may be executed.

    Arguments:
        run: The run as it was read.
        code: Files and modules that may be executed.
        source: The folder, for the messages.

    Raises:
        OwnCodeError: if the run needs code that is not in ``code``, or if ``code`` is no list of
            files and modules.
    """
    allowed = _by_name(code)
    return _changed(run, lambda part: str(_located(_path_of(part), allowed, source)))


def _by_name(code: NamedCode | None) -> dict[str, str]:
    """The files and modules of the user, by the names that runs store for them."""
    listed = [] if code is None else [code] if isinstance(code, str | Path) else list(code)
    places: dict[str, str] = {}
    for entry in map(str, listed):
        if is_code_file(entry):
            path = Path(os.path.expanduser(entry)).resolve()
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
        if places.setdefault(name, place) != place:
            raise OwnCodeError(
                f"expected files of different names for --code; got {places[name]} and {place}. "
                "Rename one of them."
            )
    return places


def _located(path: CodePath, allowed: Mapping[str, str], source: str | Path) -> CodePath:
    """A path that a folder stores, at the place that the user allowed for its file."""
    if path.code != path.file_name:
        raise OwnCodeError(
            f"expected {source} to name a file of the user's without a folder; got {path.code!r}, "
            "which priorwise does not write. Nothing was executed."
        )
    if path.code in allowed:
        return CodePath(allowed[path.code], path.name)
    example = f"path/to/{path.code}" if is_code_file(path.code) else path.code
    others = f" You named {', '.join(allowed)}." if allowed else ""
    raise OwnCodeError(
        f"{source} was trained with code that is not part of priorwise: {path.name} of "
        f"{path.code}. To use the run, this code must be executed.{others} If you have it and "
        f"trust it, add --code {example} (in Python: code={example!r})."
    )


def code_of(run: AbstractConfig) -> list[str]:
    """The files and modules that hold the user's own parts of a run, each once."""
    return list(dict.fromkeys(_path_of(part).code for part in _own_parts(run)))


def code_hashes(run: AbstractConfig) -> dict[str, str]:
    """The hash of each file that holds one of the user's own parts, as it was executed."""
    paths = map(_path_of, _own_parts(run))
    return {f"code {path.file_name}": own_code(path.code).content_hash for path in paths}


def warn_of_changed_code(run: AbstractConfig, about: Mapping[str, Any], source: str | Path) -> None:
    """Warn of each of the user's files that has changed since the run was trained."""
    for name, current_hash in code_hashes(run).items():
        stored_hash = about.get(name)
        if stored_hash != current_hash:
            warnings.warn(
                f"{name.removeprefix('code ')} has changed since {source} was trained (its hash "
                f"was {stored_hash} and is now {current_hash}): the weights may belong to another "
                "model.",
                stacklevel=3,
            )
