"""Public names that are imported at their first use, so that importing a package costs nothing.

A lazy package writes its public names as any other package, but imports them only for type
checkers::

    if TYPE_CHECKING:
        from priorwise.models import NCP, VAE
    else:
        __getattr__, __dir__ = lazy_names(__name__)

    __all__ = ["NCP", "VAE"]

At the first use of a name, ``lazy_names`` reads these imports from the package's source, which must
be there. It performs the import that provides the name, and the package keeps the name. So each
name is written only once, where type checkers, editors and the guard of the import rows read it.

References:
    PEP 562, Module ``__getattr__`` and ``__dir__``. https://peps.python.org/pep-0562/
    SPEC 1 of Scientific Python, Lazy Loading of Submodules and Functions, which reads a stub file
    in this way. https://scientific-python.org/specs/spec-0001/
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
    """Each name that is imported under ``TYPE_CHECKING``, with its module."""
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
