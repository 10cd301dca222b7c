"""The source as the guards see it: which file imports which, without running anything."""

import ast
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "priorwise"
ROOT = Path(__file__).parents[2] / "src" / PACKAGE

# A file imports from rows above it, or from its left on its own row.
ROWS = [
    [
        "lazy",
        "choices",
        "limits",
        "nearest",
        "refusals",
        "typing",
        "compilation",
        "randomness",
        "interrupts",
        "callables",
        "arrays",
        "nn",
        "schedules",
        "reading",
        "terminal",
        "memory",
        "storage",
        "checked_lines",
        "progress",
    ],
    ["distributions", "samplers"],
    ["likelihoods", "backbones"],
    ["conditionals", "tilts"],
    ["priors"],
    ["models"],
    ["objectives", "features", "estimators", "testing"],
    ["data", "config"],
    ["training"],
    ["evaluation"],
    ["reporting", "recipes"],
    ["completion", "command_options", "last_words", "train_command", "cli"],
]
FACADE = {"", "__main__"}  # the package itself imports from all rows


@dataclass(frozen=True)
class Import:
    """One import of our own code."""

    importer: str  # dotted name within the package; "" is the package itself
    imported: str
    place: str  # file:line
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name within the package to file; a package stands for its ``__init__``."""
    paths = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def place_of(unit: str) -> tuple[int, int] | None:
    """Row and place on it; None for a name that has none."""
    for row, names in enumerate(ROWS):
        if unit in names:
            return row, names.index(unit)
    return None


def unit_of(module: str) -> str:
    return module.split(".")[0]


def _within(name: str) -> str | None:
    """A dotted name within the package, None for somebody else's."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def _targets(node: ast.AST, importer: str, path: Path, known: set[str]) -> list[str]:
    """The modules that a statement imports, as dotted names within the package."""
    if isinstance(node, ast.Import):
        return [target for alias in node.names if (target := _within(alias.name)) is not None]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        parts = importer.split(".") if importer else []
        parts = parts if path.name == "__init__.py" else parts[:-1]
        parts = parts[: len(parts) - node.level + 1]
        source: str | None = ".".join([*parts, *([node.module] if node.module else [])])
    else:
        source = _within(node.module or "")
    if source is None:
        return []
    names = [f"{source}.{alias.name}".lstrip(".") for alias in node.names]
    return [name if name in known else source for name in names]


def imports(root: Path = ROOT) -> list[Import]:
    """Every import of our own code, those inside functions included."""
    files = modules(root)
    statements = []
    for importer, path in files.items():
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            for target in _targets(node, importer, path, set(files)):
                line = node.lineno  # type: ignore[attr-defined]
                place = f"{path.relative_to(root.parent)}:{line}"
                statements.append(Import(importer, target, place, lines[line - 1].strip()))
    return statements


def backwards(found: list[Import]) -> list[str]:
    """Imports that point down or right, and modules that have no row."""
    wrong = []
    for item in found:
        above, below = unit_of(item.imported), unit_of(item.importer)
        if below in FACADE or above == below:
            continue
        places = place_of(above), place_of(below)
        if None in places or not places[0] < places[1]:  # type: ignore[operator]
            wrong.append(str(item))
    return wrong


def edges(found: list[Import]) -> dict[str, set[str]]:
    """What runs before what: a module needs what it imports, and the packages that hold it.

    The packages around a module itself are left out: Python has begun them already.
    """
    graph: dict[str, set[str]] = {}
    for item in found:
        parts = item.imported.split(".")
        needed = (
            {".".join(parts[:end]) for end in range(1, len(parts) + 1)} if item.imported else {""}
        )
        around = {
            ".".join(item.importer.split(".")[:end])
            for end in range(1, item.importer.count(".") + 1)
        }
        graph.setdefault(item.importer, set()).update(
            needed - (around - {item.imported}) - {item.importer}
        )
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle, the first again at the end; empty if there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for needed in sorted(graph.get(module, ())):
            if found := visit(needed, [*path, module]):
                return found
        done.add(module)
        return []

    for module in sorted(graph):
        if found := visit(module, []):
            return found
    return []
