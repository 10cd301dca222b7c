"""Checkpoints as data: one safetensors file with the tensors, and the rest as JSON in its header.

A file is written under a temporary name, flushed to the disk and renamed, so a complete one is
there at any moment. Its header holds a hash of all that it holds, and the name of the run that it
belongs to. Nothing is ever unpickled.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from priorwise.compilation import uncompiled_name
from priorwise.memory import refuse_beyond_memory
from priorwise.reading import UnreadableError, check_plain_file, parse_json, shortened
from priorwise.storage import TRY_AGAIN, value_bytes, write_atomically

__all__ = [
    "CheckpointError",
    "load_model",
    "load_objective",
    "load_optimizer",
    "model_tensors",
    "objective_tensors",
    "optimizer_tensors",
    "read_checkpoint",
    "write_checkpoint",
]

_FORMAT = "priorwise-2"
_NAMED = 3  # tensors that a message names
# What safetensors and torch raise at a header that lies, for example at an unknown type.
_DAMAGE = (SafetensorError, OSError, KeyError, AttributeError, RuntimeError, UnicodeDecodeError)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or that belongs to another model or objective."""


def write_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    run: str = "",
    advice: str = TRY_AGAIN,
) -> None:
    """Write tensors and a state of plain data to one file, atomically.

    Arguments:
        path: The file.
        tensors: The tensors by name.
        state: What JSON can hold.
        run: Name of the run that the file belongs to (``RunFolder.name``); empty if to none.
        advice: The end of the message of a ``WriteError``.

    Raises:
        WriteError: if the file cannot be written; the message ends with the advice.
    """
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    header = {"format": _FORMAT, "state": json.dumps(state), "run": run}
    content = save(copies, metadata=header | {"hash": _hash(copies, header)})
    write_atomically(path, content, advice=advice)


def _hash(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """A hash of every tensor (name, shape, type, bytes) and of the rest of the header."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in sorted(header.items()):
        digest.update(repr(entry).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(value_bytes(tensor))
    return digest.hexdigest()


def read_checkpoint(
    path: Path, device: str | torch.device = "cpu", *, run: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of one file.

    Arguments:
        path: The file.
        device: Where the tensors should be.
        run: Name of the run that the file must belong to; None takes that of any run.

    Raises:
        CheckpointError: if the file is missing, cut short, not safetensors (a pickle is refused
            unread), not written by priorwise, changed since it was written, or of another run.
    """
    try:
        check_plain_file(path)
        if not path.exists():
            raise CheckpointError(f"expected a checkpoint at {path}; there is none.")
        refuse_beyond_memory(path.stat().st_size, str(path), "Restore it from a backup.")
        content = path.read_bytes()  # at once: another process may replace the file meanwhile
        tensors = dict(sorted(load(content).items()))
        header = _metadata(content, path)
    except UnreadableError as error:
        raise CheckpointError(f"expected a checkpoint at {path}; there is none. {error}") from error
    except _DAMAGE as error:
        reason = str(error)[:200]
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({reason}). It may be cut short or a pickle, "
            "which is never read. Restore it from a backup, or remove it to start this run again."
        ) from error
    if header.get("format") != _FORMAT or "state" not in header:
        raise CheckpointError(
            f"{path} was not written by this version of priorwise: expected format {_FORMAT!r} in "
            f"its header; got {shortened(header.get('format'))}. Read it with the version that "
            "wrote it, or remove it to start this run again."
        )
    _refuse_changed(path, tensors, header)
    if run is not None and header.get("run", run) not in ("", run):
        raise CheckpointError(
            f"{path} belongs to another run, with other settings or another seed: its header names "
            f"the run {shortened(header['run'])}, and this run is {run}. Put the file of this run "
            "back from a backup, or start the run again in another folder."
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}, _state_in(path, header)


def _metadata(content: bytes, path: Path) -> dict[str, str]:
    """The entries of a safetensors header besides its tensors; ``load`` has checked the rest."""
    length = int.from_bytes(content[:8], "little")
    header = parse_json(content[8 : 8 + length], f"the header of {path}")
    metadata = header.get("__metadata__", {})
    assert isinstance(metadata, dict)
    return metadata


def _state_in(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    try:
        state = parse_json(header["state"], f"the header of {path}")
    except UnreadableError as error:
        raise CheckpointError(f"{error} Restore it from a backup.") from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"expected a mapping as the state in the header of {path}; got {shortened(state)}. "
            "Restore it from a backup."
        )
    return state


def _refuse_changed(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    """Compare the content of a file with the hash in its header."""
    if "hash" not in header and "run" not in header:
        warnings.warn(
            f"{path} has no checksum, since an earlier version of priorwise wrote it: damage to "
            "its numbers would not be noticed.",
            stacklevel=4,
        )
        return
    rest = {name: value for name, value in header.items() if name != "hash"}
    if header.get("hash") != _hash(tensors, rest):
        raise CheckpointError(
            f"{path} is damaged: its content does not agree with the checksum in its header. "
            "Restore it from a backup, or start the run again in another folder."
        )


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers, each under its name."""
    return {f"model/{name}": tensor for name, tensor in _uncompiled(model.state_dict()).items()}


def _uncompiled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names that they have without ``torch.compile``."""
    return {uncompiled_name(name): tensor for name, tensor in tensors.items()}


def load_model(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors of a checkpoint into a model.

    Raises:
        CheckpointError: if they belong to another model; this model is then left as it was.
    """
    stored = {
        name.removeprefix("model/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("model/")
    }
    current = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in _uncompiled(current).items()}
    stored_shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    differing = sorted(
        name
        for name in shapes.keys() | stored_shapes.keys()
        if shapes.get(name) != stored_shapes.get(name)
    )
    if differing:
        words = "; ".join(
            f"`{name[:200]}` (expected {shapes.get(name, 'none')}, got "
            f"{stored_shapes.get(name, 'none')})"
            for name in differing[:_NAMED]
        )
        raise CheckpointError(
            f"{path} holds another model: {len(differing)} tensors differ, the first "
            f"{'is' if len(differing) == 1 else 'are'} {words}."
        )
    model.load_state_dict({name: stored[uncompiled_name(name)] for name in current})


def _beside(objective: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of an objective that are not the model's, such as those of a discriminator."""
    inside = tuple(f"{path}." for path, module in objective.named_modules() if module is model)
    beside = {
        name: tensor
        for name, tensor in objective.state_dict().items()
        if not name.startswith(inside)
    }
    return _uncompiled(beside)


def objective_tensors(objective: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of an objective, without those of the model that it holds."""
    return {f"objective/{name}": tensor for name, tensor in _beside(objective, model).items()}


def load_objective(
    objective: nn.Module, model: nn.Module, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Load the tensors of a checkpoint into what an objective holds besides the model.

    Raises:
        CheckpointError: if they belong to another objective.
    """
    tensors_beside = _beside(objective, model)
    stored = {
        name.removeprefix("objective/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("objective/")
    }
    for name in sorted(tensors_beside.keys() | stored.keys()):
        shapes = [
            tuple(tensor.shape) if tensor is not None else "none"
            for tensor in (tensors_beside.get(name), stored.get(name))
        ]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path} holds another objective: expected `{name[:200]}` of shape {shapes[0]}, "
                f"got {shapes[1]}. Continue with the objective of this run, or choose another "
                "folder."
            )
    with torch.no_grad():
        for name, tensor in tensors_beside.items():
            tensor.copy_(stored[name])


def optimizer_tensors(optimizer: Optimizer, player: str = "model") -> dict[str, Tensor]:
    """The tensors of an optimiser's state, by parameter number and name.

    Its hyper-parameters are not included: they belong to the configuration.
    """
    return {
        f"optimizer/{player}/{index}/{name}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], player: str = "model"
) -> None:
    """Load the stored state of a player into its optimiser.

    Raises:
        CheckpointError: if the state belongs to other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(f"optimizer/{player}/"):
            index, _, name = key.removeprefix(f"optimizer/{player}/").partition("/")
            if not (index.isdecimal() and name):
                raise CheckpointError(
                    f"expected the optimiser state in the checkpoint by parameter and name; got "
                    f"{shortened(key)}. The file is damaged: restore it from a backup."
                )
            if int(index) >= len(parameters):
                raise CheckpointError(
                    f"expected the optimiser state of {len(parameters)} parameters; got more in "
                    "the checkpoint. Set `requires_grad` as it was when the run started."
                )
            state.setdefault(int(index), {})[name] = _laid_out_like(parameters[int(index)], tensor)
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with the strides of its parameter.

    The fused optimiser goes through both in memory order, so their layouts must agree.
    """
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
