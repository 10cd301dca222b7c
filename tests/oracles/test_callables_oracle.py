"""Every place where a callable may keep the networks that it uses; and nothing of it is run on the
way.
"""

import functools
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from priorwise.callables import modules_of

NET = nn.Linear(2, 2)
OTHER = nn.Linear(2, 2)
NETS = types.ModuleType("somebodys_nets")
NETS.encoder, NETS.discriminator = nn.Linear(2, 2), nn.Linear(2, 2)
NETS.inner = types.ModuleType("somebodys_nets.inner")
NETS.inner.decoder = nn.Linear(2, 2)


def apply(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)


def wrapped_by(function: Callable) -> Callable:
    @functools.wraps(function)
    def inner(*arguments: object) -> object:
        return function(*arguments)

    return inner


@dataclass
class Parts:
    net: nn.Module
    more: dict[str, object] = field(default_factory=dict)

    def encode(self, x: Tensor) -> Tensor:
        return self.net(x)


@dataclass(slots=True, frozen=True)
class Slotted:
    net: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)


class Pair(NamedTuple):
    first: nn.Module
    second: nn.Module


class Encoder:
    """Holds a network in whatever it is given, and takes it out of there."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __call__(self, x: Tensor) -> Tensor:
        return x

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return x


class Indirect:
    """Its methods name a global, through a method, a property and a static method of its own."""

    def encode(self, x: Tensor) -> Tensor:
        return self.step(x)

    def step(self, x: Tensor) -> Tensor:
        return self.network(self.plain(x))

    @property
    def network(self) -> nn.Module:
        return NET

    @staticmethod
    def plain(x: Tensor) -> Tensor:
        return OTHER(x)

    def loss(self, x: Tensor) -> Tensor:
        return NETS.discriminator(x)


class Shared:
    """A network of the class, not of an object."""

    net: ClassVar[nn.Module] = nn.Linear(2, 2)

    @classmethod
    def encode(cls, x: Tensor) -> Tensor:
        return cls.net(x)


class Methods(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Hiding(nn.Module):
    """A module that keeps another where torch does not see it."""

    def __init__(self, hidden: object) -> None:
        super().__init__()
        self.hidden = hidden


def through_global(x: Tensor) -> Tensor:
    return NET(x)


def through_global_inside(x: Tensor) -> list[Tensor]:
    return [(lambda row: NET(row))(row) for row in x]


def through_another_function(x: Tensor) -> Tensor:
    return through_global(x)


def through_python_module(x: Tensor) -> Tensor:
    return NETS.encoder(x)


def through_nested_python_module(x: Tensor) -> Tensor:
    return NETS.inner.decoder(x)


def through_import(x: Tensor) -> Tensor:
    from nets_of_the_test import encoder

    return encoder(x)


def with_default(x: Tensor, net: nn.Module = NET, *, other: nn.Module = OTHER) -> Tensor:
    return other(net(x))


def closure(held: object) -> Callable:
    def encode(x: Tensor) -> Tensor:
        return held, x

    return encode


def late() -> Callable:
    """A closure over a variable that is never set."""

    def encode(x: Tensor) -> Tensor:
        return network(x)

    if not callable(encode):
        network = NET
    return encode


def cyclic() -> Callable:
    circle: dict[str, object] = {"net": NET}
    circle["itself"] = [circle]

    def encode(x: Tensor) -> Tensor:
        return circle, encode, x

    circle["encode"] = encode
    return encode


def registered_circle() -> nn.Module:
    first, second = Methods(), Methods()
    first.second, second.first = second, first
    return first


METHODS = Methods()
HIDING = Hiding([NET])
DEEP = Encoder({"a": [(Encoder(Parts(NET)),)]})
CIRCLE = registered_circle()
COMPILED = torch.compile(METHODS, backend="eager")
DECORATED = wrapped_by(apply)
DECORATED.net = NET

# name -> (a callable, the modules that it uses, in order)
CASES: dict[str, tuple[Callable, list[nn.Module]]] = {
    "module": (NET, [NET]),
    "method of a module": (METHODS.encode, [METHODS]),
    "call of a module": (NET.__call__, [NET]),
    "method of an object": (Encoder(NET).encode, [NET]),
    "callable object": (Encoder(NET), [NET]),
    "list": (Encoder([NET, OTHER]).encode, [NET, OTHER]),
    "tuple": (Encoder((NET, (OTHER,))).encode, [NET, OTHER]),
    "deque": (Encoder(deque([OTHER, NET])).encode, [OTHER, NET]),
    "named tuple": (Encoder(Pair(OTHER, NET)), [OTHER, NET]),
    "dictionary": (Encoder({"a": OTHER, "b": NET}), [OTHER, NET]),
    "ordered dictionary": (Encoder(OrderedDict(a=NET)), [NET]),
    "default dictionary": (Encoder(defaultdict(list, a=[NET])), [NET]),
    "method of a dictionary": ({"a": NET}.__getitem__, [NET]),
    "namespace": (Encoder(types.SimpleNamespace(net=NET)), [NET]),
    "dataclass": (Parts(NET, {"b": OTHER}).encode, [NET, OTHER]),
    "slots": (Slotted(NET), [NET]),
    "slots, method": (Slotted(NET).__call__, [NET]),
    "deep": (DEEP.encode, [NET]),
    "static": (Indirect.plain, [OTHER]),
    "through methods, a property and a global": (Indirect().encode, [NET, OTHER]),
    "of a class": (Shared.encode, [Shared.net]),
    "class in a function": (lambda x: Shared.encode(x), [Shared.net]),
    "partial": (functools.partial(apply, NET), [NET]),
    "partial, keyword": (functools.partial(apply, net=NET), [NET]),
    "partial of a module": (functools.partial(NET), [NET]),
    "partial of a partial": (
        functools.partial(functools.partial(apply, NET), x=OTHER),
        [NET, OTHER],
    ),
    "wraps": (wrapped_by(through_global), [NET]),
    "wraps of a closure": (wrapped_by(closure(NET)), [NET]),
    "cache": (functools.lru_cache(through_global), [NET]),
    "no_grad": (torch.no_grad()(closure(NET)), [NET]),
    "no_grad, global": (torch.no_grad()(through_global), [NET]),
    "closure": (closure(NET), [NET]),
    "closure over a list": (closure([NET, OTHER]), [NET, OTHER]),
    "closure over a function": (closure(closure(NET)), [NET]),
    "closure over an object": (closure(Encoder(NET)), [NET]),
    "closure over a method": (closure(METHODS.encode), [METHODS]),
    "closure that is empty": (late(), []),
    "lambda": (lambda x: NET(x), [NET]),
    "lambda over an attribute": (lambda x: METHODS.inner(x), [METHODS]),
    "global": (through_global, [NET]),
    "global in a nested function": (through_global_inside, [NET]),
    "global of another function": (through_another_function, [NET]),
    "Python module": (through_python_module, [NETS.encoder]),
    "nested Python module": (through_nested_python_module, [NETS.inner.decoder]),
    "defaults": (with_default, [NET, OTHER]),
    "attribute of a function": (DECORATED, [NET]),
    "outermost": (lambda x: (METHODS.inner, METHODS), [METHODS]),
    "hidden in a module": (lambda x: HIDING(x), [HIDING, NET]),
    "circle": (cyclic(), [NET]),
    "circle of modules": (lambda x: CIRCLE(x), [CIRCLE]),
    "torch.compile": (COMPILED, [COMPILED]),
    "torch.compile, closure": (closure(COMPILED), [COMPILED]),
    "torch.compile of a function": (torch.compile(closure(NET), backend="eager"), [NET]),
    "nothing": (lambda x: torch.relu(x), []),
    "builtin": (abs, []),
    "numbers": (closure([1, "a", None, 2.0, torch.zeros(3), print]), []),
}


@pytest.mark.parametrize("name", CASES)
def test_finds(name):
    """Fault: a place that is not looked into; a module that is found twice, or in an order that
    changes.
    """
    function, expected = CASES[name]
    assert [id(module) for module in modules_of(function)] == [id(module) for module in expected]


def test_several_callables_share_what_they_find():
    """Fault: a module that is registered once for each callable that uses it."""
    modules = modules_of(
        lambda x: METHODS.inner(x), through_global, METHODS.encode, lambda x: (OTHER, NET)
    )
    assert [id(module) for module in modules] == [id(METHODS), id(NET), id(OTHER)]
    outer = nn.Sequential(NET)
    assert modules_of(through_global, outer) == [outer]


def test_imports_inside_a_function(monkeypatch):
    """Fault: a name that only the function itself imports."""
    assert modules_of(through_import) == []
    nets = types.ModuleType("nets_of_the_test")
    nets.encoder = nn.Linear(2, 2)
    monkeypatch.setitem(sys.modules, "nets_of_the_test", nets)
    assert modules_of(through_import) == [nets.encoder]


class Trap:
    """Tells when anything of it is run."""

    def __init__(self) -> None:
        self.net = NET

    @property
    def network(self) -> nn.Module:
        raise AssertionError("a property was run")

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"`{name}` was looked up")

    def __iter__(self) -> object:
        raise AssertionError("an iterator was opened")

    def __len__(self) -> int:
        raise AssertionError("a length was asked for")

    def __bool__(self) -> bool:
        raise AssertionError("a truth value was asked for")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a comparison was made")

    __hash__ = None

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)


class TrappedList(list):
    def __iter__(self) -> object:
        raise AssertionError("an iterator was opened")


class Proxy:
    @property
    def __class__(self) -> type:
        raise AssertionError("`__class__` was looked up")


def test_nothing_is_run():
    """Fault: a property, `__getattr__` or an iterator of the user's that the search sets off."""
    trap = Trap()
    assert modules_of(trap.encode) == [NET]
    assert modules_of(closure([trap, TrappedList([OTHER]), Proxy()])) == [NET, OTHER]


def test_libraries_and_data_are_left_alone(tmp_path, monkeypatch):
    """Fault: a walk through somebody's library, or through a data set."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "library_of_the_test.py").write_text(
        "from torch import nn\nNET = nn.Linear(2, 2)\nf = lambda x: NET(x)\n"
    )
    monkeypatch.syspath_prepend(folder)
    import library_of_the_test

    assert modules_of(library_of_the_test.f) == []
    assert modules_of(lambda x: library_of_the_test.NET(x)) == []
    assert modules_of(closure([*range(100_000), NET])) == []


def test_a_search_without_end_says_so():
    """Fault: a graph of objects so large that the search takes minutes, or stops in silence."""
    chain: list[object] = [NET]
    for _ in range(30):
        chain = [[chain, *([number] for number in range(900))]]
    with pytest.warns(UserWarning, match="the search for modules stopped after 20,000 objects"):
        assert modules_of(closure(chain)) == []
