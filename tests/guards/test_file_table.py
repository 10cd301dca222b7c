"""The table of files in docs/architecture.md is true: every file of the package stands there, and
every name there exists.
"""

import re

import source

TABLE = source.ROOT.parents[1] / "docs" / "architecture.md"


def listed(text: str) -> set[str]:
    """Files of the table's rows; a name without a folder is in the folder of the name before it."""
    files: set[str] = set()
    for row in re.findall(r"^\| \d+ \| (.*?) \|", text, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] or folder
            files.add(name if "/" in name or not folder else f"{folder}/{name}")
    return files


def test_every_file_has_a_row():
    """Fault: a new file that nobody finds."""
    names = listed(TABLE.read_text())
    folders = tuple(name for name in names if name.endswith("/"))
    files = {str(path.relative_to(source.ROOT)) for path in source.ROOT.rglob("*.py")}
    missing = {file for file in files if file not in names and not file.startswith(folders)}
    assert not sorted(file for file in missing if not file.endswith(("__init__.py", "__main__.py")))


def test_every_row_has_its_files():
    """Fault: a row for a file that was renamed."""
    names = {name for name in listed(TABLE.read_text()) if name.endswith(".py")}
    assert not sorted(name for name in names if not (source.ROOT / name).is_file())


def test_the_guard_reads_rows():
    assert listed("| 1 | `a/b.py`, `c.py`, `d/` | words |\n| x | `e.py` |") == {
        "a/b.py",
        "a/c.py",
        "d/",
    }
