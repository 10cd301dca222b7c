"""Arrays of the user's, numpy or torch, as tensors that a module accepts."""

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Array", "as_tensor", "input_tensor"]

Array: TypeAlias = np.ndarray | Tensor


def as_tensor(x: Array, what: str = "x") -> Tensor:
    """An array as a tensor of the same numbers; a tensor as it is.

    Arguments:
        x: A tensor, or a numpy array of booleans, integers or real numbers, which is copied.
        what: Its name in messages.

    Raises:
        TypeError: if it is something else.
    """
    if isinstance(x, Tensor):
        return x
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "buif":
        got = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(
            f"expected `{what}` as a tensor or a numpy array of numbers; got {got}. Convert it "
            "with numpy.asarray(..., dtype='float32')."
        )
    # torch has neither long doubles, nor wide unsigned integers in all its operations
    wide = {"f": np.float64, "u": np.int64}.get(x.dtype.kind, x.dtype)
    odd = x.dtype in (np.longdouble, np.uint16, np.uint32, np.uint64)
    return torch.from_numpy(np.array(x, dtype=wide if odd else x.dtype.newbyteorder("=")))


def input_tensor(module: nn.Module, x: Array, what: str = "x") -> Tensor:
    """An array as a module computes with it: on its device, real numbers in its precision.

    Integers are converted as they stand; nothing is scaled. A module without tensors computes in
    the precision of a tensor, and in float32 for a numpy array.

    Arguments:
        module: The module that will be called with the result.
        x: The array, of any shape.
        what: Its name in messages.

    Raises:
        TypeError: if ``x`` is no array of numbers.
    """
    tensor = as_tensor(x, what)
    own = next(
        (part for part in (*module.parameters(), *module.buffers()) if part.is_floating_point()),
        None,
    )
    if own is not None:
        return tensor.to(own)
    keeps = isinstance(x, Tensor) and tensor.is_floating_point()
    return tensor if keeps else tensor.to(torch.get_default_dtype())
