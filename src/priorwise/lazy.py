"""Public names that are imported when somebody asks for them; before that a package costs nothing.

A lazy package writes its public names as any other does, but imports them for type checkers alone::

    if TYPE_CHECKING:
        from priorwise.models import NCP, VAE
    else:
        __getattr__, __dir__ = lazy_names(__name__)

    __all__ = ["NCP", "VAE"]

When somebody first asks for a name, these imports are read from the package's own source, which has
to be there; the one that brings the name is done, and the name stays. So each name is written where
type checkers, editors and the guard of the import rows read it, and nowhere else.

References:
    PEP 562, Module ``__getattr__`` and ``__dir__``; SPEC 1 of Scientific Python, Lazy Loading of
    Submodules and Functions, which reads a stub file in this way.
"""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose imports stand under ``TYPE_CHECKING``.

    Arguments:
        package: Name of the package, its ``__name__``.
    """
    module = sys.modules[package]

    @cache
    def homes() -> dict[str, str]:
        import inspect

        return _homes(inspect.getsource(module))

    def __getattr__(name: str) -> Any:  # noqa: ANN401, N807
        if name.startswith("__") or name not in homes():
            raise AttributeError(
                f"module {package!r} has no attribute {name!r}", name=name, obj=module
            )
        home = import_module(homes()[name])
        value = import_module(f"{package}.{name}") if home is module else getattr(home, name)
        setattr(module, name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(module.__all__)

    return __getattr__, __dir__


def _homes(source: str) -> dict[str, str]:
    """Each name that is imported under ``TYPE_CHECKING``, with the module that it comes from."""
    import ast

    blocks = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.name: statement.module
        for block in blocks
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
