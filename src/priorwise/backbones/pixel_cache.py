"""The features of a ``PixelCNN`` pixel by pixel, while the image is being drawn.

Every layer is computed at the new pixel only. What the layers computed at the pixels before is
kept: of the row above, and of the current row so far. What the row above contributes to a row is
computed for the whole row at once, and so is what the conditioning planes contribute.

Letters: ``R`` rows (images), ``C W`` channels and width, ``P`` planes, ``F`` features, ``G`` groups
of channels, ``I`` inputs of a layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorwise.backbones.pixelcnn import ChannelScale, PixelCNN
from priorwise.nn import require_precision

__all__ = ["PixelCache"]


class PixelCache:
    """The state of images that are drawn together.

    For each row, call ``start_row``. For each column and each group of channels, ``features`` tells
    what the law of these channels depends on, and ``put`` enters what was drawn. Batch
    normalisation uses its running statistics, in any mode.

    Arguments:
        network: The network.
        planes: Conditioning planes ``(R, P, H, W)``.
    """

    def __init__(self, network: PixelCNN, planes: Tensor) -> None:
        self.network = network
        self.planes = F.pad(planes, (1, 1, 1, 1))
        kernels = network.kernels
        require_precision(planes, kernels[0], "PixelCNN")
        self.kernel_of_planes = kernels[0][:, network.channels :]
        kernels[0] = kernels[0][:, : network.channels]
        self.layers = [
            _CachedLayer(kernel, norm, network.groups)
            for kernel, norm in zip(kernels, network.norms, strict=True)
        ]
        width = self.planes.shape[-1]
        sizes = [network.channels, *len(self.layers) * [network.features]]
        self.values = [planes.new_zeros(len(planes), width, size) for size in sizes]

    def start_row(self, row: int) -> None:
        """Begin a row of pixels, counted from 0."""
        from_planes = F.conv2d(self.planes[:, :, row : row + 3], self.kernel_of_planes)
        for layer, above in zip(self.layers, self.values[:-1], strict=True):
            layer.start_row(above)
        self.layers[0].from_above += from_planes.squeeze(2).mT
        self.values = [torch.zeros_like(above) for above in self.values]

    def features(self, column: int, group: int) -> Tensor:
        """The features of one group of channels at a pixel of the row, ``(R, F/G)``."""
        here = column + 1
        for place, layer in enumerate(self.layers):
            values, part = self.values[place], layer.part(group)
            result = self.values[place + 1][:, here, part]
            torch.clamp(layer.at(column, group, values), min=0.0, out=result)
            if place and self.network.residual:
                result += values[:, here, part]
        return self.values[-1][:, column + 1, self.layers[-1].part(group)]

    def put(self, column: int, group: int, drawn: Tensor) -> None:
        """Enter the values of one group of channels at a pixel of the row, ``(R, C/G)``."""
        size = drawn.shape[1]
        self.values[0][:, column + 1, group * size : (group + 1) * size] = drawn


class _CachedLayer:
    """One masked convolution with its normalisation, at single pixels."""

    from_above: Tensor

    def __init__(self, kernel: Tensor, norm: nn.Module, groups: int) -> None:
        kernel = kernel.permute(2, 3, 1, 0)  # (3, 3, I, F)
        self.norm = norm
        self.size = kernel.shape[-1] // groups
        self.above = kernel[0].flatten(0, 1)
        own_row = kernel[1, :2].flatten(0, 1)  # the pixel to the left, and the pixel itself
        self.own_row = [part.contiguous() for part in own_row.split(self.size, 1)]

    def part(self, group: int) -> slice:
        """The features of a group."""
        return slice(group * self.size, (group + 1) * self.size)

    def start_row(self, above: Tensor) -> None:
        """What the row above, ``(R, W + 2, I)``, contributes to every pixel: ``(R, W, F)``."""
        three = above.unfold(1, 3, 1).transpose(2, 3).flatten(2)
        self.from_above = three @ self.above

    def at(self, column: int, group: int, values: Tensor) -> Tensor:
        """The features of a group at one pixel before the ReLU, from the row ``(R, W + 2, I)``."""
        two = values[:, column : column + 2].flatten(1)
        h = torch.addmm(self.from_above[:, column, self.part(group)], two, self.own_row[group])
        if isinstance(self.norm, ChannelScale):
            return self.norm.at(h, group)
        norm = self.norm
        assert isinstance(norm, nn.BatchNorm2d)
        return F.batch_norm(
            h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
