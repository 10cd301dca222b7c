"""A number that identifies the model of a resumed run, since its tensors alone do not.

The scale of a likelihood may be a plain number of the model. The tensors of a run with another
scale then fit this model as well, and without the probe the run would go on unnoticed.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorwise.objectives import AbstractObjective
from priorwise.training.folder import RunFolderError
from priorwise.training.stage import judged

__all__ = ["Probe"]

_EXAMPLES = 8
_ROUNDING = 1e-3


class Probe:
    """The verdict of an objective on a few validation examples, with fixed random numbers.

    Random numbers differ between kinds of devices and versions of torch, so probes are compared
    only if both are the same. An objective without a verdict has no probe.

    Arguments:
        objective: The objective of the fit.
        x: Prepared validation data ``(N, *event)``.
        batch_size: Batch size of the fit.
    """

    def __init__(self, objective: AbstractObjective, x: Tensor, batch_size: int) -> None:
        self.objective = objective
        self.x = x[:_EXAMPLES]
        self.batch_size = min(batch_size, _EXAMPLES)

    def measured(self) -> dict[str, Any] | None:
        """The value, and the device and version that computed it, as plain data; None if none."""
        value = judged(self.objective, self.x, self.batch_size)
        if value is None or not math.isfinite(value):
            return None
        return {"value": value, "on": f"{self.x.device.type}, torch {torch.__version__}"}

    def refuse_other(self, stored: dict[str, Any] | None, folder: Path) -> None:
        """Compare the value of the loaded weights with the value when they were stored.

        Raises:
            RunFolderError: if the two differ by more than rounding.
        """
        measured = None if stored is None else self.measured()
        if stored is None or measured is None or stored["on"] != measured["on"]:
            return
        expected, value = stored["value"], measured["value"]
        if not math.isclose(expected, value, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            raise RunFolderError(
                f"{folder} holds a run of another model or other settings: with its weights the "
                f"{self.objective.metric} of {len(self.x)} validation examples was "
                f"{expected:.6g}; this model gives {value:.6g}. Nothing in the folder was "
                "changed. Build the model as it was, or choose another folder."
            )
