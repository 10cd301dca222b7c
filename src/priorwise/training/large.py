"""Large state of an objective, such as a replay buffer: a file of its own beside the checkpoint.

The file is named by a hash of its content. A new file is written beside the old one, then the
checkpoint that names it, and then the old file is removed. So whenever a run is killed, the file
that the checkpoint names is there, and state that did not change is not written again.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from priorwise.storage import content_hash
from priorwise.training.checkpoint import CheckpointError, read_checkpoint

__all__ = ["drop_others", "identity_of", "large_path", "load_large"]

_STEM = "buffer-"
_HEX = "[0-9a-f]"


def identity_of(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits for names, types, shapes and values; empty if there are no tensors."""
    return content_hash(tensors) if tensors else ""


def large_path(folder: Path, identity: str) -> Path:
    """The file of the state with this identity."""
    return folder / f"{_STEM}{identity}.safetensors"


def load_large(folder: Path, identity: str, device: torch.device) -> dict[str, Tensor]:
    """The state that goes with a checkpoint; empty if the checkpoint names none.

    Raises:
        CheckpointError: if the file is missing or damaged, or its content belongs to another name.
    """
    if not identity:
        return {}
    path = large_path(folder, identity)
    if not path.is_file():
        raise CheckpointError(
            f"expected {path.name} beside last.safetensors, which goes with it; there is none in "
            f"{folder}. Restore it from a backup, or remove last.safetensors to start this run "
            "again."
        )
    tensors, _ = read_checkpoint(path)
    if identity_of(tensors) != identity:
        raise CheckpointError(
            f"expected the content of {path} to match the hash in its name; it does not. Restore "
            "it from a backup, or remove last.safetensors to start this run again."
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def drop_others(folder: Path, identity: str) -> None:
    """Remove the state of earlier checkpoints; files with other names stay."""
    for path in folder.glob(f"{_STEM}{_HEX * 16}.safetensors"):
        if path != large_path(folder, identity):
            path.unlink(missing_ok=True)
