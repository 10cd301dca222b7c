"""The documentation names what exists: every path, and every command with its options.

Commands are parsed, not run; those of README.md and docs/your_own.md are executed elsewhere.
"""

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import source
import typer

from priorwise.cli import app
from priorwise.config.overrides import override
from priorwise.recipes import recipe
from priorwise.recipes.listing import topics

ROOT = source.ROOT.parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app).commands
UsageError = typer.BadParameter.__base__  # of whichever click typer brings
SOURCES = {path.name for path in source.ROOT.rglob("*")}

OF_A_RUN = {"base/"}  # in a run folder
OF_A_USER = {"recipes.py", "parts.py", "FILE.py"}

FENCE = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|md|toml|tsv|txt|cff|html))")
PLACEHOLDER = re.compile(r"[A-Z][A-Z_.]*(?:\.\.\.)?")
SHELL = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:priorwise|make|python -m)\b")


def spans(text: str) -> list[str]:
    """Code within the text, on one line each."""
    return [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text), re.DOTALL)
    ]


def lines(text: str) -> list[str]:
    """Lines of code blocks, without their comments."""
    blocks = [*FENCE.findall(text), *re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)]
    return [re.split(r"\s{2,}#", line)[0].strip() for block in blocks for line in block.split("\n")]


def missing_paths(text: str) -> list[str]:
    """Paths in the text that lead nowhere: below the root, the package or the docs."""
    paths = [span for span in spans(text) if PATH.fullmatch(span)]
    return [path for path in paths if path not in OF_A_RUN | OF_A_USER and not exists(path)]


def exists(path: str) -> bool:
    """Whether there is such a path; ``NAME`` stands for anything in its folder."""
    path = path.rstrip("/")
    folder, _, name = path.rpartition("/")
    if not folder and name in SOURCES:
        return True
    sought = folder if PLACEHOLDER.fullmatch(name.partition(".")[0]) else path
    return any((root / sought).exists() for root in (ROOT, source.ROOT, ROOT / "docs"))


def complaint(line: str, *, whole: bool) -> str:
    """What is wrong with a command; a part of one may lack arguments."""
    words = shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?", "", line.rstrip("\\ ")))
    match words:
        case ["priorwise", name, *arguments] if not name.startswith("-"):
            return of_priorwise(name, arguments, whole=whole)
        case ["make", *targets]:
            return of_make([word for word in targets if "=" not in word])
        case ["python", "-m", module, *arguments]:
            return of_module(module, arguments)
        case _:
            return ""


def of_priorwise(name: str, arguments: list[str], *, whole: bool) -> str:
    """What is wrong with a subcommand, its options, its recipe and the settings of that."""
    if name not in COMMANDS:
        return f"no subcommand {name}"
    try:
        context = COMMANDS[name].make_context(name, list(arguments))
    except UsageError as error:
        missing = type(error).__name__ == "MissingParameter"
        return "" if missing and not whole else error.format_message()
    try:
        return of_names(context.params)
    except ValueError as error:
        return str(error)


def of_names(parameters: dict[str, object]) -> str:
    """What is wrong with the names that a command is given."""
    topic = parameters.get("paper") or parameters.get("name")
    if topic and not PLACEHOLDER.fullmatch(str(topic)) and topic not in topics():
        return f"nothing is called {topic}"
    chosen = str(parameters.get("recipe_name", "RECIPE"))
    if not PLACEHOLDER.fullmatch(chosen) and ":" not in chosen:
        settings = parameters["overrides"] or []
        override(recipe(chosen), [item for item in settings if item.lower() != "key.path=value"])
    return ""


def of_make(targets: list[str]) -> str:
    """What is wrong with the targets of make."""
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def of_module(module: str, arguments: list[str]) -> str:
    """What is wrong with a module that is run, by the options in its source."""
    if module == "pytest":
        gone = [word for word in arguments if not word.startswith("-") and not exists(word)]
        return f"no {gone}" if gone else ""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return f"no module {module}"
    path = Path(spec.origin)
    text = (path.with_name("__main__.py") if path.name == "__init__.py" else path).read_text()
    options = [word for word in arguments if word.startswith("--")]
    needed = re.findall(r'add_argument\("(--\w+)"[^\n]*required=True', text)
    unknown = [option for option in options if f'"{option}"' not in text]
    absent = [option for option in needed if option not in options]
    return f"unknown {unknown}, absent {absent}" if unknown or absent else ""


def wrong_commands(text: str) -> list[str]:
    """The commands in the text that could not be run, with the reason."""
    commands = [(line, True) for line in lines(text)] + [(span, False) for span in spans(text)]
    told = [(line, complaint(line, whole=whole)) for line, whole in commands if SHELL.match(line)]
    return [f"{line}: {wrong}" for line, wrong in told if wrong]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """Where the benchmarks are a module."""
    monkeypatch.syspath_prepend(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_exists(page):
    """Fault: a row for `training/run.py`, which has another name by now."""
    assert missing_paths(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists(page):
    """Fault: an option that was renamed, a recipe that is gone, a required option left out."""
    assert wrong_commands(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("`training/run.py`, `regularizers/`, `gone.py`, `tests/gone/`", 4),
        ("`training/loop.py`, `priors/`, `priors/NAME.py`, `docs/papers`, `base.py`, `a/b`", 0),
    ],
)
def test_the_guard_reads_paths(text, count):
    assert len(missing_paths(text)) == count


@pytest.mark.parametrize(
    "line",
    [
        "priorwise draw RUN",
        "priorwise sample RUN --smapler sir",
        "priorwise sample RUN --sampler mcmc",
        "priorwise sample",
        "priorwise train own/gan --data digits",
        "priorwise train own/vae training.epoch=3",
        "priorwise table nvae",
        "make tset",
        "python -m priorwise.recipes.results",
        "python -m priorwise.recipes.result RUN --out FILE",
        "python -m benchmarks --onyl training",
        "OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q tests/oracle",
    ],
)
def test_the_guard_reads_commands(line):
    assert len(wrong_commands(f"```sh\n{line}  # words\n```")) == 1
    assert len(wrong_commands(f"\n    {line}\n")) == 1


def test_the_guard_leaves_what_is_right():
    text = (
        "`priorwise\nevaluate`, `priorwise train RECIPE key.path=value`, "
        "`make bench ARGS='--only flow'`"
    )
    assert wrong_commands(text) == []
    assert wrong_commands(text.replace("evaluate", "judge")) != []
