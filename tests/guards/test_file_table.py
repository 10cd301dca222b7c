"""The table of files in docs/architecture.md is true: every file and folder at the top of the
package has a row, with the number of its imports, and every file that is named there exists.
"""

import re
from pathlib import Path

import source

TABLE = source.ROOT.parents[1] / "docs" / "architecture.md"
ROWS = {(number, unit) for number, units in enumerate(source.ROWS) for unit in units}


def rows(text: str) -> dict[str, tuple[int, str]]:
    """The file or folder of each row, with its number and with what it holds."""
    found = re.findall(r"^\| (\d+) \| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {unit: (int(number), words) for number, unit, words in found}


def named(text: str, root: Path = source.ROOT) -> set[Path]:
    """The files and folders of the rows, and those inside a folder that its row names."""
    paths = set()
    for unit, (_, words) in rows(text).items():
        inside = re.findall(r"`([\w/]+(?:\.\w+|/))`", words) if unit.endswith("/") else []
        paths |= {root / unit, *(root / unit / name for name in inside)}
    return paths


def test_every_file_and_folder_has_a_row():
    """Fault: a new folder that nobody finds; a row whose number is not that of the imports."""
    listed = {
        (number, unit.removesuffix("/").removesuffix(".py"))
        for unit, (number, _) in rows(TABLE.read_text()).items()
    }
    assert listed == ROWS


def test_every_row_has_its_files():
    """Fault: a row for a file that was renamed."""
    assert not sorted(str(path) for path in named(TABLE.read_text()) if not path.exists())


def test_the_guard_reads_rows(tmp_path):
    text = (
        "| 1 | `a/` | words; `b.py`: more, `c/`, `d` |\n| 2 | `e.py` | `f.py` |\n| x | `g.py` | |"
    )
    assert rows(text).keys() == {"a/", "e.py"}
    names = {"a", "a/b.py", "a/c", "e.py"}
    assert named(text, tmp_path) == {tmp_path / name for name in names}
