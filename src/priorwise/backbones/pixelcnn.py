r"""Masked convolutions: features of every pixel, computed from the pixels before it.

Pixels stand in the order of reading: row by row, from left to right. Masks are multiplied into the
kernels, so the weights themselves are never changed.

Letters: ``R`` rows (images), ``C H W`` channels, height and width, ``P`` conditioning planes, ``F``
features, ``G`` groups of channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorwise.nn import require_precision

__all__ = ["ChannelScale", "MaskedConv2d", "PixelCNN", "causal_mask"]


def causal_mask(out_groups: Tensor, in_groups: Tensor, *, includes_own: bool) -> Tensor:
    """The 3x3 mask of a causal convolution, ``(out, in, 3, 3)``.

    The rows above and the pixel to the left are seen by all channels. At the pixel itself, an
    output sees the inputs of earlier groups, and with ``includes_own`` those of its own group.

    Arguments:
        out_groups: The group of each output channel, ``(out,)``.
        in_groups: The group of each input channel, ``(in,)``.
        includes_own: True for features (mask B), False for the pixels themselves (mask A).
    """
    mask = torch.zeros(len(out_groups), len(in_groups), 3, 3)
    mask[:, :, 0, :] = 1.0
    mask[:, :, 1, 0] = 1.0
    later, earlier = out_groups[:, None], in_groups[None, :]
    mask[:, :, 1, 1] = (later >= earlier if includes_own else later > earlier).float()
    return mask


class MaskedConv2d(nn.Module):
    """A 3x3 convolution without bias, some weights of which are never used.

    Arguments:
        mask: ``(out, in, 3, 3)``, one where a weight is used and zero elsewhere.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(mask[0].numel())  # torch's own default, as in the paper's code
        weight = torch.empty_like(mask).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        mask = mask.contiguous(memory_format=torch.channels_last)
        self.register_buffer("mask", mask, persistent=False)

    @property
    def kernel(self) -> Tensor:
        """The weights that are used, ``(out, in, 3, 3)``."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """``(R, in, H, W) -> (R, out, H, W)``."""
        require_precision(x, self.weight, "MaskedConv2d")
        return F.conv2d(x, self.kernel, padding=1)


class ChannelScale(nn.Module):
    """A learned scale and shift of every feature, without any statistics.

    It mixes neither images, as batch normalisation does, nor pixels, the later of which must not be
    seen.

    Arguments:
        groups: Number of groups G.
        features: Number of features F, a multiple of ``groups``.
    """

    def __init__(self, groups: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, features // groups))
        self.bias = nn.Parameter(torch.zeros(groups, features // groups))

    def forward(self, h: Tensor) -> Tensor:
        """``(R, F, H, W) -> (R, F, H, W)``."""
        return h * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)

    def at(self, h: Tensor, group: int) -> Tensor:
        """The features of one group at a pixel, ``(R, F/G) -> (R, F/G)``."""
        return h * self.weight[group] + self.bias[group]


class PixelCNN(nn.Module):
    """Features of every pixel, computed from the pixels before it and from conditioning planes.

    ``(R, C, H, W), (R, P, H, W) -> (R, F, H, W)`` by ``layers`` masked 3x3 convolutions, each with
    a scale and a ReLU. There are two forms.

    - By default, each channel of a pixel is a step of its own: red, then green given red, then blue
      given both. The features stand in C groups, one for each channel. The planes are not masked:
      each pixel sees them around itself. Nothing is normalised: every layer but the first adds to
      what it was given, and starts small (``ChannelScale``).
    - With ``published``, the VampPrior paper's code. The mask is spatial only, so the channels of a
      pixel are independent given the pixels before it. It lies over the conditioning planes, too:
      each pixel sees only what they hold above and to the left of it, and the first pixel nothing.
      Normalisation is by batch statistics, running ones in evaluation.

    As in every stack of masked 3x3 kernels, a pixel sees what lies to its upper right only within a
    cone of one column per row and layer.

    References:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.4 and 3.5.
        https://arxiv.org/abs/1601.06759

        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. https://arxiv.org/abs/1705.07120

    Arguments:
        channels: Image channels C.
        planes: Conditioning planes P.
        features: Features F of each layer; rounded up to a multiple of the groups.
        layers: Number of layers.
        published: Whether to take the form of the paper's code.
    """

    def __init__(
        self,
        channels: int,
        planes: int,
        *,
        features: int = 64,
        layers: int = 8,
        published: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.groups = 1 if published else channels
        self.features = self.groups * -(-features // self.groups)
        of_image = torch.arange(channels) * self.groups // channels
        of_features = torch.arange(self.features) * self.groups // self.features
        of_planes = torch.zeros(planes, dtype=torch.long)
        first = causal_mask(of_features, torch.cat([of_image, of_planes]), includes_own=False)
        if not published:
            first[:, channels:] = 1.0
        others = causal_mask(of_features, of_features, includes_own=True)
        self.convolutions = nn.ModuleList(
            MaskedConv2d(mask) for mask in (first, *(layers - 1) * [others])
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(self.features) if published else ChannelScale(self.groups, self.features)
            for _ in range(layers)
        )
        self.residual = not published
        if self.residual:
            self._start_small()

    @torch.no_grad()
    def _start_small(self) -> None:
        """N(0, 2 / fan_in) weights by the inputs that masks leave, divided by the layers to add."""
        for place, layer in enumerate(self.convolutions):
            assert isinstance(layer, MaskedConv2d)
            fan_in = float(layer.mask.flatten(1).sum(1).mean())
            variance = 2.0 / fan_in / (len(self.convolutions) if place else 1)
            layer.weight.normal_(std=math.sqrt(variance))

    @property
    def kernels(self) -> list[Tensor]:
        """The weights of each layer that are used, ``(F, inputs, 3, 3)``."""
        return [layer.kernel for layer in self.convolutions if isinstance(layer, MaskedConv2d)]

    def forward(self, x: Tensor, planes: Tensor) -> Tensor:
        """The features of all pixels of images that are known already."""
        h = torch.cat([x, planes], 1)
        for place, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            new = F.relu(norm(convolution(h)))
            h = h + new if place and self.residual else new
        return h
