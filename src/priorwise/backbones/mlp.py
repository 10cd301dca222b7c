"""Dense bodies: from observations or latents to features."""

import math

from torch import Tensor, nn

from priorwise.nn import FlattenEvent, GatedDense, GatedMerge
from priorwise.typing import Shape

__all__ = ["TwoBranch", "gated_body", "gated_image_body"]


def gated_body(in_features: int, hidden: int = 300) -> nn.Sequential:
    """Two gated dense layers on a vector, the VampPrior paper's body of p(x|z) and p(z1|z2)."""
    return nn.Sequential(GatedDense(in_features, hidden), GatedDense(hidden, hidden))


def gated_image_body(shape: Shape, hidden: int = 300) -> nn.Sequential:
    """Two gated dense layers on a flattened image, the VampPrior paper's body of q(z|x)."""
    return nn.Sequential(
        FlattenEvent(shape), GatedDense(math.prod(shape), hidden), GatedDense(hidden, hidden)
    )


class TwoBranch(nn.Module):
    """Two inputs with a branch each, merged by a gated layer.

    Arguments:
        first: Body of the first input, to ``hidden`` features.
        second: Body of the second input, to ``hidden`` features.
        hidden: Number of features of each branch.
        out_features: Number of features of the result; ``hidden`` if None.
    """

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        hidden: int = 300,
        out_features: int | None = None,
    ) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.merge = GatedMerge(hidden, hidden, hidden if out_features is None else out_features)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features of the two inputs, whose leading dimensions broadcast."""
        return self.merge(self.first(first), self.second(second))
