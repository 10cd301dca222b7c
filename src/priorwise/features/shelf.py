"""Trained extractors kept on disk: safetensors with the held-out accuracy in the header, never a pickle."""

import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

__all__ = ["fetched", "shelved"]


def fetched(network: nn.Module, path: Path) -> float | None:
    """Put the kept weights into the network and return its accuracy; None if there are none, or the file is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            accuracy = float((file.metadata() or {})["accuracy"])
    except (SafetensorError, OSError, KeyError):
        return None  # it is trained again and written anew
    network.load_state_dict(tensors)
    return accuracy


def shelved(network: nn.Module, accuracy: float, path: Path) -> None:
    """Keep the weights; the file appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        partial = Path(folder) / path.name
        save_file(tensors, str(partial), metadata={"accuracy": repr(accuracy)})
        os.replace(partial, path)
