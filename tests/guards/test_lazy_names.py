"""Lazy packages are packages like others: each name is where it is said to be, and comes when it is
asked for.
"""

import ast
import importlib
import pickle
import pydoc
import sys

import pytest
import source

import priorwise
from priorwise.models import NCP, VAE

LAZY = [
    name
    for name, path in source.modules().items()
    if path.name == "__init__.py" and "= lazy_names(" in path.read_text()
]


def test_the_facade_is_lazy():
    """Fault: a guard that looks at nothing."""
    assert {"", "samplers", "features", "data", "training", "reporting"} <= set(LAZY)


@pytest.mark.parametrize("name", LAZY)
def test_what_is_imported_is_public(name):
    """Fault: a name that is there and not in ``__all__``, or the other way round."""
    package = importlib.import_module(f"priorwise.{name}".rstrip("."))
    tree = ast.parse(source.modules()[name].read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {alias.name for node in imports for alias in node.names}
    assert imported - {"TYPE_CHECKING", "lazy_names"} == set(package.__all__) - {"__version__"}


def test_names_are_the_objects_themselves():
    """Fault: a copy, a proxy, a name that is looked up again each time."""
    assert priorwise.VAE is VAE
    assert vars(priorwise)["VAE"] is VAE
    assert priorwise.data is sys.modules["priorwise.data"]
    assert pickle.loads(pickle.dumps(priorwise.NCP)) is NCP


def test_star_brings_all():
    names: dict[str, object] = {}
    exec("from priorwise import *", names)
    assert set(priorwise.__all__) <= names.keys()


def test_help_shows_all():
    """Fault: a help without the classes, or one that fails."""
    text = pydoc.render_doc(priorwise, renderer=pydoc.plaintext)
    for word in ("class VAE", "seeded(", "Finds the holes"):
        assert word in text


def test_unknown_names_are_refused_as_ever():
    """Fault: an error that names another module, or a name that is guessed."""
    with pytest.raises(AttributeError, match="module 'priorwise' has no attribute 'VEA'"):
        priorwise.VEA  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'VEA' from 'priorwise'"):
        exec("from priorwise import VEA")


INIT = '''"""A package."""
from typing import TYPE_CHECKING
from priorwise.lazy import lazy_names
if TYPE_CHECKING:
    from shelf import late
    from shelf.early import Book
    from shelf.late import Page
else:
    __getattr__, __dir__ = lazy_names(__name__)
__all__ = ["Book", "Page", "late"]
'''


def test_a_name_brings_its_own_module_alone(tmp_path, monkeypatch):
    """Fault: one name that imports all."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text(INIT)
    (folder / "early.py").write_text("class Book:\n    pass\n")
    (folder / "late.py").write_text("class Page:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        shelf = importlib.import_module("shelf")
        assert dir(shelf) == ["Book", "Page", "late"]
        assert "shelf.early" not in sys.modules
        assert shelf.Book.__module__ == "shelf.early"
        assert "shelf.late" not in sys.modules
        assert shelf.late is sys.modules["shelf.late"]
        assert shelf.Page is shelf.late.Page
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shelf"]:
            del sys.modules[name]
