"""Code that the user names, as ``FILE.py:NAME`` or ``package.module:NAME``, and how it is run.

To look for a name executes the file. Nothing here decides whether that may happen: ``own_parts``
does, and lets run what the user named and nothing that a file of data names.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["CodePath", "OwnCode", "OwnCodeError", "is_code_file", "own_code", "where_in_own_code"]

_FORM = "expected code as FILE.py:NAME or package.module:NAME"
_LINES_SHOWN = 3


class OwnCodeError(ValueError):
    """Code of the user's that cannot be found, fails, or is not what stands in its place."""


def is_code_file(code: str) -> bool:
    """Whether code is named by a file and not by a module."""
    return code.endswith(".py")


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


@dataclass(frozen=True)
class CodePath:
    """Where a class or function stands.

    Attributes:
        code: A Python file, or the dotted name of a module.
        name: What it is called there, at the top of the file.
    """

    code: str
    name: str

    @staticmethod
    def parse(text: str) -> "CodePath":
        """A path as it is written; nothing is opened.

        Raises:
            OwnCodeError: if it is not of the form.
        """
        code, _, name = text.rpartition(":")
        if not code or not _is_name(name):
            raise OwnCodeError(f"{_FORM}, with the name of a class or function; got {text!r}.")
        if "://" in code:
            raise OwnCodeError(f"{_FORM}, a file on this machine; got {text!r}.")
        if not is_code_file(code) and not all(_is_name(part) for part in code.split(".")):
            raise OwnCodeError(f"{_FORM}; {code!r} is neither a .py file nor a module in {text!r}.")
        return CodePath(code, name)

    @staticmethod
    def of(thing: Callable[..., object]) -> "CodePath":
        """The path of a class or function: by its module in a package, else by its file.

        Raises:
            OwnCodeError: if it does not stand at the top of a file.
        """
        home = sys.modules.get(thing.__module__)
        file = None if home is None else getattr(home, "__file__", None)
        if file is None or not _is_name(thing.__qualname__):
            raise OwnCodeError(
                "expected a class or function that stands at the top of a .py file, where it is "
                f"found again later; got {thing.__qualname__} of {thing.__module__}. Move it to a "
                "file and hand it over from there."
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

    The folder is importable only while code of the module runs under ``at_home``, and what it
    imports from there is not left among Python's modules, so that two folders may each have a
    ``parts.py``.
    """

    def __init__(self, code: str, module: ModuleType, folder: Path | None, content: bytes) -> None:
        self.code = code
        self.module = module
        self.folder = folder  # None for a module, which Python finds without our help
        self.content_hash = hashlib.sha256(content).hexdigest()[:16]
        self._neighbours: dict[str, ModuleType] = {}

    def get(self, name: str) -> object:
        """What the module calls by a name.

        Raises:
            OwnCodeError: if there is none; the nearest name is suggested.
        """
        members = vars(self.module)
        if name in members:
            return members[name]
        mine = [key for key, value in members.items() if self.defines(value)]
        near = difflib.get_close_matches(name, mine, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise OwnCodeError(
            f"expected {name!r} in {self.code}; there is none.{hint} It defines "
            f"{', '.join(mine) or 'no class or function'}."
        )

    def defines(self, thing: object) -> bool:
        """Whether a class or function was written in this very module."""
        is_code = inspect.isclass(thing) or inspect.isfunction(thing)
        return is_code and thing.__module__ == self.module.__name__

    def call(self, name: str, *arguments: object, **options: object) -> object:
        """What the function or class of a name returns.

        Raises:
            OwnCodeError: if it is not defined in the module, or fails; the user's own lines are
                shown.
        """
        called = self.get(name)
        if not self.defines(called):
            raise OwnCodeError(
                f"expected a class or function that {self.code} itself defines; {name} is "
                f"{_described(called)}. Name the file in which it is written."
            )
        assert callable(called)
        with self.at_home(f"calling {name} of {self.code}"):
            return called(*arguments, **options)

    @contextmanager
    def at_home(self, what: str) -> Iterator[None]:
        """Run code of the module: its folder is importable, errors are told with its own lines."""
        before = {name: sys.modules[name] for name in self._neighbours if name in sys.modules}
        known = set(sys.modules)
        sys.modules.update(self._neighbours)
        if self.folder is not None:
            sys.path.insert(0, str(self.folder))
        try:
            yield
        except (Exception, SystemExit) as error:  # somebody's code may raise anything
            raise OwnCodeError(f"{what} failed:\n{_told(error, self.folder)}") from error
        finally:
            if self.folder is not None:
                if str(self.folder) in sys.path:  # somebody's code may have cleared it
                    sys.path.remove(str(self.folder))
                self._neighbours |= _neighbours(sys.modules.keys() - known, self.folder)
            for name in self._neighbours:
                sys.modules.pop(name, None)
            sys.modules.update(before)

    def owns(self, module_name: str) -> bool:
        """Whether a module is this one, of its package, or one that it imported from its folder."""
        package = self.module.__name__.partition(".")[0]
        return module_name.partition(".")[0] == package or module_name in self._neighbours


_EXECUTED: dict[str, OwnCode] = {}  # by the name of the module, which tells file and content


def own_code(code: str) -> OwnCode:
    """A file or module of the user's, executed. A file is executed again only once it has changed.

    Raises:
        OwnCodeError: if there is none, or it fails; the user's own lines are shown.
    """
    return _from_file(code) if is_code_file(code) else _from_module(code)


def _from_file(code: str) -> OwnCode:
    path = Path(code).expanduser().resolve()
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
        del sys.modules[name]
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
                f"expected the module {code!r} to be installed, or below PYTHONPATH; Python finds "
                f"no {error.name!r}. A file is named with its ending, as in path/to/{code}.py:NAME."
            ) from error
        raise OwnCodeError(f"importing {code} failed:\n{_told(error, None)}") from error
    file = Path(getattr(module, "__file__", None) or "nowhere")
    content = file.read_bytes() if file.is_file() else b""
    return _EXECUTED.setdefault(code, OwnCode(code, module, None, content))


def _neighbours(names: set[str], folder: Path) -> dict[str, ModuleType]:
    """Modules from beside a file, which nothing but their place there made importable."""
    found = {}
    for name in names:
        top = name.partition(".")[0]
        file = Path(getattr(sys.modules[name], "__file__", None) or "nowhere")
        beside = file == folder / f"{top}.py" or file.is_relative_to(folder / top)
        if beside and top != "priorwise" and PathFinder.find_spec(top) is None:
            found[name] = sys.modules[name]
    return found


def _described(thing: object) -> str:
    """What something is, in words: where a class or function was written, else its type."""
    if callable(thing) and isinstance(getattr(thing, "__module__", None), str):
        return f"from {thing.__module__}"
    return f"a {type(thing).__name__}"


def _told(error: BaseException, folder: Path | None) -> str:
    """The user's own lines on the way to an error, the innermost last, and the error."""
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
    """The innermost line of the user's own code on the way to an error, empty if there is none."""
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
