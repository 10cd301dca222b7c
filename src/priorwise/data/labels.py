"""Classes of training images: of a known set, of a file, and of an array."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from priorwise.data.embedded import digits_training_labels
from priorwise.data.files import array_names, read_arrays
from priorwise.data.known_sets import EMBEDDED
from priorwise.data.sources import find

__all__ = ["LABELS", "classes", "training_labels"]

LABELS = "y_train"


def classes(y: np.ndarray | Tensor) -> Tensor | None:
    """Classes as ``(N,)`` integers; None for what is no class: real numbers, or several columns."""
    labels = torch.as_tensor(y)
    return labels.long() if labels.dim() == 1 and not labels.is_floating_point() else None


def training_labels(name_or_path: str | Path) -> Tensor | None:
    """The classes of the training images, ``(N,)`` integers, or None where there are none.

    They are read from ``y_train`` in the .npz file of the set, in the order of that file. Where a
    part of the training data is held out, ``Splits.labels`` has those of the rest. Models never see
    them; feature extractors may.

    Arguments:
        name_or_path: What ``load`` takes.
    """
    if name_or_path == "digits":
        return digits_training_labels()
    if isinstance(name_or_path, str) and name_or_path in EMBEDDED:
        return None
    path = find(name_or_path) if isinstance(name_or_path, str) else None
    path = Path(name_or_path).expanduser() if path is None else path
    if path.suffix != ".npz" or not path.is_file() or LABELS not in array_names(path):
        return None
    return classes(read_arrays(path, (LABELS,))[LABELS])
