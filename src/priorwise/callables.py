"""The modules that a callable uses, found by looking at what it holds and names. Nothing of it is run.

A function keeps its networks in closures, defaults and globals, a method in its object, a
``functools.partial`` in its arguments. torch knows none of these places, so a network there misses
``.eval()``, ``.to(device)`` and ``state_dict()``.
"""

import dis
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import (
    BuiltinMethodType,
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodWrapperType,
    ModuleType,
    NoneType,
)
from typing import Any, TypeGuard, TypeVar

from torch import Tensor, nn

from priorwise.compilation import untraced

__all__ = ["modules_of"]

T = TypeVar("T")

_LARGEST_CONTAINER = 1000  # longer ones hold data
_LARGEST_SEARCH = 20_000  # objects
_LEAVES = (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    NoneType,
    Tensor,
    CodeType,
    FrameType,
    GeneratorType,
)
_LEAF_LIBRARIES = {"torch", "numpy"}  # their objects hold nobody's modules
_BOOKKEEPING = frozenset(vars(nn.Module()))  # attributes that every torch module has
_CALLED_UNNAMED = ("__call__", "__getattr__", "__getitem__", "__iter__", "forward")
_LOADS_A_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


@untraced
def modules_of(*callables: Callable[..., Any]) -> list[nn.Module]:
    """The torch modules that callables use, in a stable order, each once.

    Looked through are: modules and their methods; objects with all that they hold, in attributes,
    slots, lists, tuples, deques and dictionaries; ``functools.partial``; closures, default
    arguments and whatever decorators wrap; and the globals that a function's code names, also as
    attributes of a class or of an imported Python module of the user's. A module inside another one
    that was found is not listed. Not looked into are installed libraries, sets, and containers of
    more than 1000 members. What a function fetches by a computed name or calls in a compiled
    extension cannot be seen.

    Arguments:
        callables: Functions, methods, modules or objects with ``__call__``. None of them is called.

    Example:
        >>> encoder = nn.Linear(4, 2)
        >>> modules_of(lambda x, encoder=encoder: encoder(x))
        [Linear(in_features=4, out_features=2, bias=True)]
    """
    search = _Search()
    for each in callables:
        search.run(each)
    return _outermost(search.found)


def _outermost(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The modules that lie in no other one, each once."""
    kept: dict[nn.Module, set[nn.Module]] = {}
    for module in modules:
        if any(module in inside for inside in kept.values()):
            continue
        inside = set(module.modules())
        kept = {other: parts for other, parts in kept.items() if other not in inside} | {
            module: inside
        }
    return list(kept)


class _Search:
    """A walk from object to object, the nearest first, so that it may stop early where the graph is huge.

    Members of classes and of Python modules wait until some code that was reached names them.
    """

    def __init__(self) -> None:
        self.found: list[nn.Module] = []
        self._queue: deque[object] = deque()
        self._seen: dict[int, object] = {}  # holds the objects, lest an address is used twice
        self._named = set(_CALLED_UNNAMED)
        self._waiting: dict[str, list[object]] = {}

    def run(self, root: object) -> None:
        """Walk until nothing is left."""
        self._queue.append(root)
        while self._queue:
            thing = self._queue.popleft()
            if id(thing) in self._seen or _is_leaf(thing):
                continue
            if len(self._seen) >= _LARGEST_SEARCH:
                warnings.warn(
                    f"the search for modules stopped after {_LARGEST_SEARCH:,} objects; if the "
                    "callable uses modules beyond these, name them yourself, for example by "
                    "`modules=[...]` of `priorwise.wrap`.",
                    stacklevel=2,
                )
                self._queue.clear()
                return
            self._seen[id(thing)] = thing
            self._open(thing)

    def _open(self, thing: object) -> None:
        if _is(thing, nn.Module):
            self._open_module(thing)
        elif _is(thing, FunctionType):
            self._open_function(thing)
        elif _is(thing, type):
            for each in thing.__mro__:
                if not _is_library(_home_of(each)):
                    self._open_namespace(vars(each))
        elif _is(thing, ModuleType):
            if not _is_library(vars(thing)):
                self._open_namespace(vars(thing))
        elif _is(thing, BuiltinMethodType) or _is(thing, MethodWrapperType):
            self._queue.append(thing.__self__)
        else:
            self._queue.extend(_items(thing))
            self._queue.extend(_stored(thing))
            self._queue.append(type(thing))

    def _open_module(self, module: nn.Module) -> None:
        self.found.append(module)
        for part in module.modules():
            self._seen[id(part)] = part
            self._queue.extend(
                value for name, value in vars(part).items() if name not in _BOOKKEEPING
            )
            self._queue.append(type(part))

    def _open_function(self, function: FunctionType) -> None:
        self._queue.extend(function.__defaults__ or ())
        self._queue.extend((function.__kwdefaults__ or {}).values())
        self._queue.extend(_closed_over(function))
        self._queue.extend(
            _dictionary_of(function).values()
        )  # `__wrapped__`, and what the user hangs on it
        if _is_library(function.__globals__):
            return
        code = _names_in(function.__code__)
        self._queue.extend(
            function.__globals__[name] for name in code.globals if name in function.__globals__
        )
        self._queue.extend(sys.modules[name] for name in code.imports if name in sys.modules)
        for name in code.all:
            if name not in self._named:
                self._named.add(name)
                self._queue.extend(self._waiting.pop(name, ()))

    def _open_namespace(self, members: Mapping[str, object]) -> None:
        for name, member in list(members.items()):
            if name in self._named:
                self._queue.append(member)
            else:
                self._waiting.setdefault(name, []).append(member)


class _Names:
    """What the code of a function names, the functions inside it included: globals, imports, and all names."""

    def __init__(self, code: CodeType) -> None:
        steps = [step for part in _nested(code) for step in dis.get_instructions(part)]
        self.globals = _each_once(step.argval for step in steps if step.opname in _LOADS_A_GLOBAL)
        self.imports = _each_once(step.argval for step in steps if step.opname == "IMPORT_NAME")
        self.all = _each_once(name for part in _nested(code) for name in part.co_names)


_names_in = lru_cache(maxsize=512)(_Names)


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _is(thing: object, kind: type[T]) -> TypeGuard[T]:
    """Like ``isinstance``, which would ask the object itself for its class."""
    return issubclass(type(thing), kind)


def _is_leaf(thing: object) -> bool:
    kind = type(thing)
    if issubclass(kind, _LEAVES):
        return True
    return (
        not issubclass(kind, nn.Module)
        and str(kind.__module__).partition(".")[0] in _LEAF_LIBRARIES
    )


def _is_library(namespace: Mapping[str, object]) -> bool:
    """Whether these are the globals of a Python module that was installed, ours included."""
    name = str(namespace.get("__name__", "")).partition(".")[0]
    if name in sys.stdlib_module_names or name in _LEAF_LIBRARIES or name == "priorwise":
        return True
    place = Path(str(namespace.get("__file__") or ""))
    return not {"site-packages", "dist-packages"}.isdisjoint(place.parts)


def _home_of(kind: type) -> Mapping[str, object]:
    """The globals of the Python module in which a class was written; empty if it is not known."""
    home = sys.modules.get(str(kind.__module__))
    return {} if home is None else vars(home)


def _items(thing: object) -> list[object]:
    """The members of a list, tuple, deque or dictionary, by the built-in type's own methods."""
    kinds: tuple[Any, ...] = (list, tuple, deque, dict)
    for kind in kinds:
        if _is(thing, kind) and kind.__len__(thing) <= _LARGEST_CONTAINER:
            return list(dict.values(thing) if kind is dict else kind.__iter__(thing))
    return []


def _stored(thing: object) -> Iterator[object]:
    """What an object keeps in its dictionary and in its slots, those of built-in types included."""
    yield from _dictionary_of(thing).values()
    for kind in type(thing).__mro__:
        for slot in vars(kind).values():
            if type(slot) is MemberDescriptorType:
                try:
                    yield slot.__get__(thing)
                except AttributeError:  # the slot is empty
                    continue


def _dictionary_of(thing: object) -> dict[str, object]:
    """The object's own ``__dict__``, not one that its class makes up."""
    for kind in type(thing).__mro__:
        descriptor = vars(kind).get("__dict__")
        if descriptor is not None:
            return (
                dict(descriptor.__get__(thing)) if type(descriptor) is GetSetDescriptorType else {}
            )
    return {}


def _closed_over(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # the variable is not set yet
            continue
