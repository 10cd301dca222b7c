"""Names for shapes and roles that the whole library uses.

Letters in shapes: ``S`` samples, ``B`` batch, ``D`` latent dimensions, ``G`` groups, ``K``
importance samples, ``M`` mixture components, ``C H W`` image channels, height and width.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution

Shape: TypeAlias = tuple[int, ...]
SizeLike: TypeAlias = torch.Size | list[int] | tuple[int, ...]
Address: TypeAlias = int | str
Encode: TypeAlias = Callable[[Tensor], Distribution]
LogTilt: TypeAlias = Callable[[Tensor], Tensor]
