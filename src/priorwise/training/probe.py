"""By what a resumed run knows its model: a number that settings change which no tensor tells.

The scale of a likelihood may be a plain number of the model. Its tensors then fit a run with
another scale, which would go on as if nothing had happened.
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
    """What the objective makes of a few validation examples, with the same random numbers every time.

    Random numbers differ between kinds of devices and versions of torch, so only numbers from the
    same ones are compared. An objective that judges nothing has no probe.

    Arguments:
        objective: What is minimised.
        x: Prepared validation data ``(N, *event)``.
        batch_size: That of the fit.
    """

    def __init__(self, objective: AbstractObjective, x: Tensor, batch_size: int) -> None:
        self.objective = objective
        self.x = x[:_EXAMPLES]
        self.batch_size = min(batch_size, _EXAMPLES)

    def measured(self) -> dict[str, Any] | None:
        """The number and on what it was computed, as plain data; None if there is none."""
        value = judged(self.objective, self.x, self.batch_size)
        if value is None or not math.isfinite(value):
            return None
        return {"value": value, "on": f"{self.x.device.type}, torch {torch.__version__}"}

    def refuse_other(self, stored: dict[str, Any] | None, folder: Path) -> None:
        """Compare the weights as they are now with what was measured when they were stored.

        Raises:
            RunFolderError: if the two differ by more than rounding.
        """
        now = None if stored is None else self.measured()
        if stored is None or now is None or stored["on"] != now["on"]:
            return
        before, after = stored["value"], now["value"]
        if not math.isclose(before, after, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            raise RunFolderError(
                f"{folder} holds a run of another model or other settings: with its weights "
                f"{self.objective.metric} of {len(self.x)} validation examples was {before:.6g}, "
                f"this model gives {after:.6g}. Nothing in it was changed. Build the model as it "
                "was, or take another folder."
            )
