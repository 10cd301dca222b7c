"""A run that was read from a file comes through ``read_run``, which asks what may be executed."""

import re

import source

READS = re.compile(r"\bRun\.model_validate|\bvalidated\(|\brecipe\(")
DOORS = {
    "config/overrides.py": 3,  # `validated` itself, its one call, and the validation inside
    "training/run_record.py": 1,  # `read_run`
    "training/run_group.py": 1,  # `RunGroup.run_of`, which asks in the same way
    "recipes/registry.py": 1,  # recipes are named by the user
    "train_command.py": 1,
}


def lines() -> dict[str, int]:
    """How often each file makes a run of plain data or of a name."""
    counts = {
        str(path.relative_to(source.ROOT)): len(READS.findall(path.read_text()))
        for path in source.ROOT.rglob("*.py")
    }
    return {file: count for file, count in counts.items() if count}


def test_no_other_file_makes_runs_of_data():
    """Fault: a reader of ``run.json`` that executes what stands in it.

    Names that come from a file go to ``packaged_recipe``.
    """
    assert lines() == DOORS
