"""The members of a group of runs: whether each is the run that the record of the group says."""

from pathlib import Path
from typing import Any

from priorwise.storage import content_hash
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.decision import decided
from priorwise.training.folder import RunFolderError
from priorwise.training.run_group import RunGroup
from priorwise.training.run_identity import EPOCHS, differences, words_of
from priorwise.training.run_record import stored_run

__all__ = ["refuse_other_members"]

_SHARED = ("data_fingerprint", "init")


def refuse_other_members(group: RunGroup) -> None:
    """Refuse a group in which another run lies in the folder of a member that is finished.

    Its numbers would go into a mean to which they do not belong.

    Raises:
        RunFolderError: if a member has other settings or epochs than its value of the setting says,
            other data than the first, or the weights of another seed.
        CheckpointError: if the weights of a member are missing or damaged.
    """
    first: tuple[str, dict[str, Any]] | None = None
    names = {group.name_of(value): value for value in group.values}
    for name, folder in group.finished.items():
        run, spec, identity = stored_run(folder)
        expected = decided(group.stored_run_of(names[name]), spec)
        changed = differences({"run": run.record()}, {"run": expected.record()})
        if changed and not (changed.keys() == {EPOCHS} and _ended_early(folder, changed[EPOCHS])):
            raise RunFolderError(
                f"expected in {folder} the member {name} of {group.folder}; it holds another run: "
                f"{words_of(changed)}. {_ADVICE}"
            )
        first = first or (name, identity)
        shared, own = ({key: each.get(key) for key in _SHARED} for each in (first[1], identity))
        if differences(shared, own):
            raise RunFolderError(
                f"expected members that share their data and where they start; those of {first[0]} "
                f"and {name} in {group.folder} differ: {words_of(differences(shared, own))}. "
                f"{_ADVICE}"
            )
    if group.repeats:
        _refuse_copies(group)


_ADVICE = (
    "Put the run of this member back, or remove its folder and run `priorwise train` again. "
    "Nothing was measured."
)


def _ended_early(folder: Path, epochs: tuple[int, int]) -> bool:
    """Whether patience stopped a run, which is then not given the further epochs of its group."""
    stopped = read_checkpoint(folder / "last.safetensors")[1].get("stopped")
    return stopped == "patience" and epochs[0] < epochs[1]


def _refuse_copies(group: RunGroup) -> None:
    """Refuse two seeds with the same weights, except where a fit needs no chance.

    Raises:
        RunFolderError: in this case.
    """
    seen: dict[str, str] = {}
    for name, folder in group.finished.items():
        weights = content_hash(read_checkpoint(folder / "best.safetensors")[0])
        other = seen.setdefault(weights, name)
        if other != name and not _solved(folder):
            raise RunFolderError(
                f"expected seeds with weights of their own in {group.folder}; {name} is a copy of "
                f"{other}. {_ADVICE}"
            )


def _solved(folder: Path) -> bool:
    """Whether a fit was solved without steps."""
    return read_checkpoint(folder / "last.safetensors")[1].get("stopped") == "solved"
