"""Checkpoints as data: one safetensors file with the tensors and, in its header, the rest as JSON.

A file is written beside its place, flushed to the disk and renamed, so that at any moment a
complete one is there. Nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from priorwise.storage import TRY_AGAIN, write_atomically

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


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not belong here."""


def write_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    advice: str = TRY_AGAIN,
) -> None:
    """Write tensors and a JSON-able state to one file, atomically.

    Raises:
        WriteError: if the disk refuses; the message ends with the advice.
    """
    ready = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    content = save(ready, metadata={"format": _FORMAT, "state": json.dumps(state)})
    write_atomically(path, content, advice=advice)


def read_checkpoint(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of one file.

    Raises:
        CheckpointError: if it is missing, cut, not safetensors (a pickle, say: it is refused
            unread) or not ours.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at {path}; there is none.")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). It may be cut short or a pickle, "
            "which is never read. Restore it from a copy, or remove it to start this run again."
        ) from error
    if metadata.get("format") != _FORMAT or "state" not in metadata:
        raise CheckpointError(
            f"{path} was not written by this version of priorwise: expected format {_FORMAT!r} in "
            f"its header; got {metadata.get('format')!r}."
        )
    return tensors, json.loads(metadata["state"])


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers, each under its name."""
    return {f"model/{name}": tensor for name, tensor in model.state_dict().items()}


def load_model(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of a checkpoint into a model.

    Raises:
        CheckpointError: if they are another model's; the model is left as it was.
    """
    stored = {
        name.removeprefix("model/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("model/")
    }
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    other = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if own != other:
        wrong = sorted(
            name for name in own.keys() | other.keys() if own.get(name) != other.get(name)
        )
        first = wrong[0]
        raise CheckpointError(
            f"{path} holds another model: {len(wrong)} tensors differ, the first is `{first}` "
            f"(expected {own.get(first, 'none')}, got {other.get(first, 'none')})."
        )
    model.load_state_dict(stored)


def _beside(objective: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """What an objective holds that is not the model's, such as a discriminator."""
    inside = tuple(f"{path}." for path, module in objective.named_modules() if module is model)
    return {
        name: tensor
        for name, tensor in objective.state_dict().items()
        if not name.startswith(inside)
    }


def objective_tensors(objective: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of an objective beside those of the model that it holds."""
    return {f"objective/{name}": tensor for name, tensor in _beside(objective, model).items()}


def load_objective(
    objective: nn.Module, model: nn.Module, tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Put the tensors of a checkpoint into what an objective holds beside the model.

    Raises:
        CheckpointError: if they are another objective's.
    """
    own = _beside(objective, model)
    stored = {
        name.removeprefix("objective/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("objective/")
    }
    for name in sorted(own.keys() | stored.keys()):
        shapes = [
            tuple(tensor.shape) if tensor is not None else "none"
            for tensor in (own.get(name), stored.get(name))
        ]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path} holds another objective: expected `{name}` of shape {shapes[0]}, got "
                f"{shapes[1]}. Go on with the objective of this run, or take another folder."
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def optimizer_tensors(optimizer: Optimizer, player: str = "model") -> dict[str, Tensor]:
    """The optimiser's state, by parameter number and name; its hyper-parameters belong to the configuration."""
    return {
        f"optimizer/{player}/{index}/{name}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def load_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], player: str = "model"
) -> None:
    """Put the stored state of a player into its optimiser.

    Raises:
        CheckpointError: if it belongs to other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(f"optimizer/{player}/"):
            _, _, index, name = key.split("/", 3)
            if int(index) >= len(parameters):
                raise CheckpointError(
                    f"expected the optimiser state of {len(parameters)} parameters; the checkpoint "
                    "has more. Set `requires_grad` as it was when the run began."
                )
            state.setdefault(int(index), {})[name] = _laid_out_like(parameters[int(index)], tensor)
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with the strides of its parameter: the fused optimiser walks through both as they lie in memory."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
