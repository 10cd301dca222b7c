"""What is exported is documented, complete, and written once."""

import ast
import importlib
import inspect
import warnings

import pytest
import source

MODULES = source.modules()
ENTRY_POINTS = {
    "cli",
    "__main__",
}  # called by name from outside; typer's commands are functions, not an interface


def load(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return importlib.import_module(f"priorwise.{name}" if name else "priorwise")


def defined(path):
    """The public functions and classes of a file."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")
    ]


def listed(path):
    """``__all__`` of a file, None without one."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value)
    return None


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or "priorwise")
def test_all_is_complete(name):
    """Fault: a public definition that ``__all__`` forgets, a name in it that does not exist or
    stands there twice.
    """
    path = MODULES[name]
    exported = listed(path)
    if name in ENTRY_POINTS and exported is None:
        return
    if exported is None:
        assert not defined(path), f"{path.name} defines {defined(path)} and has no __all__"
        return
    assert len(exported) == len(set(exported))
    assert not set(defined(path)) - set(exported), (
        "defined, but not in __all__; or begin the name with _"
    )
    module = load(name)
    missing = [item for item in exported if not hasattr(module, item)]
    assert not missing


def documented(item):
    return bool((inspect.getdoc(item) or "").strip())


def public_methods(item):
    for name, member in vars(item).items():
        inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(inner):
            yield name, getattr(item, name)


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or "priorwise")
def test_everything_exported_has_a_docstring(name):
    """Fault: a public name that only its source explains."""
    assert ast.get_docstring(ast.parse(MODULES[name].read_text())), "the module has no docstring"
    module = load(name)
    for exported in listed(MODULES[name]) or []:
        item = getattr(module, exported)
        if not (inspect.isclass(item) or inspect.isfunction(item)):
            continue
        assert item.__doc__, exported
        assert not item.__doc__.startswith(f"{exported}("), (
            exported
        )  # the text that dataclass writes
        if inspect.isclass(item):
            silent = [method for method, member in public_methods(item) if not documented(member)]
            assert not silent, f"{exported}: {silent}"


def shadowed(files):
    """Exported names that are a submodule of the exporting package and something else at once."""
    names = []
    for name, path in files.items():
        if path.name == "__init__.py":
            inside = {
                module.rpartition(".")[2]
                for module in files
                if module and module.rpartition(".")[0] == name
            }
            clashes = inside & set(listed(path) or []) - submodules_imported(path, name)
            names += [f"{name}.{clash}".lstrip(".") for clash in sorted(clashes)]
    return names


def submodules_imported(path, package):
    """Names that a package's own file takes from the package, so that they are its submodules."""
    dotted = f"{source.PACKAGE}.{package}".rstrip(".")
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    return {alias.name for node in nodes if node.module == dotted for alias in node.names}


def test_no_function_bears_the_name_of_a_submodule():
    """Fault: `priorwise.models.wrap` that is a function or a module, depending on what was imported
    last.
    """
    assert shadowed(MODULES) == []


def test_the_guard_against_shadowing_works(tmp_path):
    package = tmp_path / "priorwise"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("from priorwise import models\n__all__ = ['models']\n")
    (package / "models" / "__init__.py").write_text(
        "from priorwise.models.fold import fold\n__all__ = ['fold']\n"
    )
    (package / "models" / "fold.py").write_text("__all__ = ['fold']\n\ndef fold():\n    pass\n")
    assert shadowed(source.modules(package)) == ["models.fold"]
