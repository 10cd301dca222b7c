"""Code that the user names, as ``FILE.py:NAME`` or ``package.module:NAME``, and its execution.

Looking up a name executes the file. This module does not decide whether that may happen:
``own_parts`` does. It allows what the user named, and nothing that only a data file names.
"""

import hashlib
import importlib
import importlib.util
import inspect
import keyword
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from priorwise.nearest import suggestion

__all__ = ["CodePath", "OwnCode", "OwnCodeError", "is_code_file", "own_code", "where_in_own_code"]

_FORM = "expected code as FILE.py:NAME or package.module:NAME"
_LINES_SHOWN = 3


class OwnCodeError(ValueError):
    """The user's code is missing, fails, or is not what the run needs."""


def is_code_file(code: str) -> bool:
    """Whether the code is a file and not a module."""
    return code.endswith(".py")


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


@dataclass(frozen=True)
class CodePath:
    """Where a class or function is defined.

    Attributes:
        code: A Python file, or the dotted name of a module.
        name: Its name at the top level of that file or module.
    """

    code: str
    name: str

    @staticmethod
    def parse(text: str) -> "CodePath":
        """The path that a text names; nothing is opened.

        Raises:
            OwnCodeError: if the text is not of that form.
        """
        code, _, name = text.rpartition(":")
        if not code or not _is_name(name):
            raise OwnCodeError(f"{_FORM}, with the name of a class or function; got {text!r}.")
        if "://" in code:
            raise OwnCodeError(f"{_FORM}, with a file on this machine; got {text!r}.")
        if not is_code_file(code) and not all(_is_name(part) for part in code.split(".")):
            raise OwnCodeError(
                f"{_FORM}; got {text!r}, where {code!r} is neither a .py file nor a module."
            )
        return CodePath(code, name)

    @staticmethod
    def of(thing: Callable[..., object]) -> "CodePath":
        """The path of a class or function: its module if that is in a package, else its file.

        Raises:
            OwnCodeError: if it is not defined at the top level of a file.
        """
        module = sys.modules.get(thing.__module__)
        file = None if module is None else getattr(module, "__file__", None)
        if file is None or not _is_name(thing.__qualname__):
            raise OwnCodeError(
                "expected a class or function at the top level of a .py file, from which it can be "
                f"imported again; got {thing.__qualname__} of {thing.__module__}. Move it to a "
                "file and import it from there."
            )
        if "." in thing.__module__:
            return CodePath(thing.__module__, thing.__name__)
        return CodePath(str(Path(file).resolve()), thing.__name__)

    @property
    def file_name(self) -> str:
        """The file without its folder, or the module."""
        return Path(self.code).name if is_code_file(self.code) else self.code

    def __str__(self) -> str:
        return f"{self.code}:{self.name}"


class OwnCode:
    """A module of the user's that was executed, with what it imported from its own folder.

    The folder is importable only while code of the module runs under ``at_home``. What it imports
    from there does not stay in ``sys.modules``, so two folders may each have a ``parts.py``.
    """

    def __init__(self, code: str, module: ModuleType, folder: Path | None, content: bytes) -> None:
        self.code = code
        self.module = module
        self.folder = folder  # None for a module, which Python finds by itself
        self.content_hash = hashlib.sha256(content).hexdigest()[:16]
        self._neighbours: dict[str, ModuleType] = {}

    def get(self, name: str) -> object:
        """The member of the module that has this name.

        Raises:
            OwnCodeError: if there is none; the message suggests the nearest name.
        """
        members = vars(self.module)
        if name in members:
            return members[name]
        defined = [key for key, value in members.items() if self.defines(value)]
        hint = suggestion(name, defined)
        raise OwnCodeError(
            f"expected {name!r} in {self.code}; there is none.{hint} It defines "
            f"{', '.join(defined) or 'no class or function'}."
        )

    def defines(self, thing: object) -> bool:
        """Whether a class or function was written in this module itself."""
        is_code = inspect.isclass(thing) or inspect.isfunction(thing)
        return is_code and thing.__module__ == self.module.__name__

    def call(self, name: str, *arguments: object, **options: object) -> object:
        """What the function or class with this name returns.

        Raises:
            OwnCodeError: if it is not defined in the module, or fails; the message shows the user's
                own lines.
        """
        function = self.get(name)
        if not self.defines(function):
            raise OwnCodeError(
                f"expected a class or function that {self.code} itself defines; {name} is "
                f"{_described(function)}. Name the file that defines it."
            )
        assert callable(function)
        with self.at_home(f"calling {name} of {self.code}"):
            return function(*arguments, **options)

    @contextmanager
    def at_home(self, what: str) -> Iterator[None]:
        """Run code of the module: its folder is importable, and errors show the user's lines."""
        before = {name: sys.modules[name] for name in self._neighbours if name in sys.modules}
        earlier_names = set(sys.modules)
        sys.modules.update(self._neighbours)
        if self.folder is not None:
            sys.path.insert(0, str(self.folder))
        try:
            yield
        except (Exception, SystemExit) as error:  # somebody's code may raise anything
            raise OwnCodeError(f"{what} failed:\n{_own_traceback(error, self.folder)}") from error
        finally:
            if self.folder is not None:
                if str(self.folder) in sys.path:  # somebody's code may have cleared it
                    sys.path.remove(str(self.folder))
                self._neighbours |= _neighbours(sys.modules.keys() - earlier_names, self.folder)
            for name in self._neighbours:
                sys.modules.pop(name, None)
            sys.modules.update(before)

    def owns(self, module_name: str) -> bool:
        """Whether a module is this one, of its package, or one that it imported from its folder."""
        package = self.module.__name__.partition(".")[0]
        return module_name.partition(".")[0] == package or module_name in self._neighbours


_EXECUTED: dict[str, OwnCode] = {}  # by module name, which contains a hash of path and content


def own_code(code: str) -> OwnCode:
    """A file or module of the user's, executed; a file is executed again only if it has changed.

    Raises:
        OwnCodeError: if there is none, or it fails; the message shows the user's own lines.
    """
    return _from_file(code) if is_code_file(code) else _from_module(code)


def _from_file(code: str) -> OwnCode:
    path = Path(os.path.expanduser(code)).resolve()
    if not path.is_file():
        raise OwnCodeError(f"expected a Python file; there is none at {path}.")
    content = path.read_bytes()
    mark = hashlib.sha256(str(path).encode() + b"\0" + content).hexdigest()[:16]
    name = f"own_code_{path.stem}_{mark}"
    if name in _EXECUTED:
        return _EXECUTED[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    own = OwnCode(code, importlib.util.module_from_spec(spec), path.parent, content)
    sys.modules[name] = own.module
    try:
        with own.at_home(f"executing {code}"):
            exec(compile(content, str(path), "exec"), vars(own.module))
    except BaseException:
        sys.modules.pop(name, None)
        raise
    _EXECUTED[name] = own
    return own


def _from_module(code: str) -> OwnCode:
    if code in _EXECUTED:
        return _EXECUTED[code]
    try:
        module = importlib.import_module(code)
    except (Exception, SystemExit) as error:  # somebody's code may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{code}.".startswith(f"{error.name}."):
            raise OwnCodeError(
                f"expected the module {code!r} to be installed or on PYTHONPATH; Python finds no "
                f"{error.name!r}. To name a file, give its ending: path/to/{code}.py:NAME."
            ) from error
        raise OwnCodeError(f"importing {code} failed:\n{_own_traceback(error, None)}") from error
    file = Path(getattr(module, "__file__", None) or "nowhere")
    content = file.read_bytes() if file.is_file() else b""
    return _EXECUTED.setdefault(code, OwnCode(code, module, None, content))


def _neighbours(names: set[str], folder: Path) -> dict[str, ModuleType]:
    """Modules that were importable only because they lie in the folder."""
    neighbours = {}
    for name in names:
        top = name.partition(".")[0]
        file = Path(getattr(sys.modules[name], "__file__", None) or "nowhere")
        beside = file == folder / f"{top}.py" or file.is_relative_to(folder / top)
        if beside and top != "priorwise" and PathFinder.find_spec(top) is None:
            neighbours[name] = sys.modules[name]
    return neighbours


def _described(thing: object) -> str:
    """In words: the module that a class or function is from, or the type of anything else."""
    if callable(thing) and isinstance(getattr(thing, "__module__", None), str):
        return f"from {thing.__module__}"
    return f"a {type(thing).__name__}"


def _own_traceback(error: BaseException, folder: Path | None) -> str:
    """The user's own lines in the traceback of an error, the innermost last, and the error."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_users(frame.filename, folder)
    ]
    lines = [
        *traceback.format_list(frames[-_LINES_SHOWN:]),
        *traceback.format_exception_only(error),
    ]
    return "".join(lines).rstrip()


def _is_users(file: str, folder: Path | None) -> bool:
    if folder is None:
        return file != __file__ and not file.startswith("<frozen")
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).parts


def where_in_own_code(error: BaseException) -> str:
    """The innermost line of the user's own code in a traceback; empty if there is none."""
    lines = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_own(frame.f_globals)
    ]
    summary = traceback.StackSummary.extract(lines[-1:])
    return "".join(traceback.format_list(summary)).rstrip()


def _is_own(namespace: Mapping[str, Any]) -> bool:
    name = str(namespace.get("__name__", ""))
    is_ours = name.partition(".")[0] == "priorwise"
    return not is_ours and any(own.owns(name) for own in _EXECUTED.values())
