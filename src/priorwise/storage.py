"""What tensors hold, as a short hash: two numbers were computed from the same data if the hashes are equal."""

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

__all__ = ["content_hash"]


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of named tensors: their names, shapes, types and every bit of their values.

    Neither the order of the names nor the device changes it.

    Arguments:
        tensors: By name; a ``state_dict``, for example.

    Example:
        >>> content_hash({"x": torch.zeros(2)}) == content_hash({"x": torch.zeros(1, 2)})
        False
    """
    digest = blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
