"""Small layers from which the backbones are built.

A dense layer maps the last dimension and lets any number of leading dimensions through.
Convolutions take rows; ``Rows`` gives them leading dimensions.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy

from priorwise.typing import Shape

__all__ = [
    "MLP",
    "FlattenEvent",
    "GatedConv2d",
    "GatedDense",
    "GatedMerge",
    "Rows",
    "at_least_float32",
    "event_rows",
    "he_normal_",
    "kept_modes",
    "moves_statistics",
    "no_autocast",
    "require_precision",
    "running_statistics",
    "unmoved_statistics",
]


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it came in half precision, which makes densities wrong by nats."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def no_autocast(tensor: Tensor) -> torch.autocast:
    """Switch automatic half precision off for a density, where it costs nats and gains nothing."""
    return torch.autocast(tensor.device.type, enabled=False)


def require_precision(x: Tensor, weight: Tensor, what: str) -> None:
    """Refuse an input in another precision than the weights; autocast converts both.

    Latents and conditioning are never in half precision, so half weights cannot take them.

    Arguments:
        x: The input of a layer.
        weight: The weights of the layer.
        what: The name of the layer in the message.

    Raises:
        ValueError: with both types and what to do.
    """
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return
    advice = "Convert the input, or the model by `model.to`."
    if at_least_float32(weight) is not weight:
        advice = (
            "Latents and densities are never in half precision: call `model.float()`, and take "
            "`precision='bf16'` to let the networks work in it."
        )
    raise ValueError(
        f"expected the input of {what} in the precision of its weights, {weight.dtype}; got "
        f"{x.dtype}. {advice}"
    )


def event_rows(tensor: Tensor, event_dims: int) -> tuple[Tensor, Shape]:
    """Flatten leading dimensions, ``(*batch, *event) -> (rows, *event)``; and the batch shape."""
    batch_shape = tensor.shape[: tensor.dim() - event_dims]
    return tensor.reshape(-1, *tensor.shape[tensor.dim() - event_dims :]), tuple(batch_shape)


def he_normal_(module: nn.Module, *, convolutions: bool = True) -> nn.Module:
    """Initialise the weights of dense and convolutional layers from N(0, 2 / fan_in), in place.

    Biases are left alone.

    A transposed convolution's fan-in is what reaches one output: its kernel thinned by the stride.

    References:
        Delving Deep into Rectifiers (He et al., 2015), equation 10. https://arxiv.org/abs/1502.01852
        The VampPrior code initialises its dense layers in this way.

    Arguments:
        module: The module whose layers are initialised.
        convolutions: Whether its convolutions are, too.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / layer.in_features))
        elif convolutions and isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            stride = math.prod(layer.stride) if isinstance(layer, nn.ConvTranspose2d) else 1
            fan_in = layer.in_channels * math.prod(layer.kernel_size) / stride
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_in))
    for layer in module.modules():
        if isinstance(layer, GatedMerge):  # its two parts share one fan-in
            layer.he_normal_()
    return module


@contextmanager
def running_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let batch and instance normalisation use their running statistics and not move them.

    All else stays in its mode, dropout for one, and gradients flow. The layers are lent copies of
    their statistics: autograd keeps what a pass has used, and a later pass over data would move it
    in place before the backward pass.

    Arguments:
        modules: Modules with the layers somewhere inside.

    Raises:
        ValueError: inside the block, when a batch normalisation that has no running statistics is
            used.
    """
    with ExitStack() as stack:
        for layer in _normalisations(modules):
            if layer.running_mean is not None:
                stack.callback(setattr, layer, "training", layer.training)
                layer.training = False
                for name, statistic in list(layer.named_buffers(recurse=False)):
                    if not is_lazy(statistic):
                        stack.callback(setattr, layer, name, statistic)
                        setattr(layer, name, statistic.clone())
            elif isinstance(layer, _BatchNorm):
                stack.callback(
                    layer.register_forward_pre_hook(_refuse_statistics_of_the_batch).remove
                )
        yield


@contextmanager
def unmoved_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let batch and instance normalisation work in their own mode, but record no statistics.

    For a second pass over a batch that has been counted already. A lazy layer that has seen no
    input yet is left as it is.

    Arguments:
        modules: Modules with the layers somewhere inside.
    """
    with ExitStack() as stack:
        for layer in _normalisations(modules):
            if (
                layer.training
                and layer.running_mean is not None
                and not is_lazy(layer.running_mean)
            ):
                stack.callback(setattr, layer, "track_running_stats", layer.track_running_stats)
                layer.track_running_stats = False
        yield


def moves_statistics(modules: Iterable[nn.Module]) -> bool:
    """Whether a pass would move running statistics of batch or instance normalisation."""
    return any(
        layer.training and layer.running_mean is not None for layer in _normalisations(modules)
    )


def _normalisations(modules: Iterable[nn.Module]) -> list[_NormBase]:
    parts = dict.fromkeys(part for module in modules for part in module.modules())
    return [part for part in parts if isinstance(part, _NormBase)]


def _refuse_statistics_of_the_batch(layer: nn.Module, inputs: object) -> None:
    raise ValueError(
        "expected layers that treat an input in the same way whatever else is in its batch; this "
        f"{type(layer).__name__} has no running statistics, so it normalises by the batch even in "
        "evaluation. Build it with `track_running_stats=True`, or use a layer that looks at each "
        "example alone, such as GroupNorm."
    )


@contextmanager
def kept_modes(module: nn.Module) -> Iterator[None]:
    """Restore the modes of a module and of all its parts after the block."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class Rows(nn.Module):
    """Passes any number of leading dimensions through a module that takes one.

    ``(*batch, *event) -> (*batch, *result)``.

    Arguments:
        module: Maps ``(rows, *event)`` to ``(rows, *result)``.
        event_dims: Number of dimensions of its event.
    """

    def __init__(self, module: nn.Module, event_dims: int) -> None:
        super().__init__()
        self.module = module
        self.event_dims = event_dims

    def forward(self, x: Tensor) -> Tensor:
        """All leading dimensions as one, and back."""
        rows, batch_shape = event_rows(x, self.event_dims)
        result = self.module(rows)
        return result.reshape(*batch_shape, *result.shape[1:])


class FlattenEvent(nn.Module):
    """Flattens an event into a vector: ``(*batch, C, H, W) -> (*batch, C*H*W)``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Flatten the last ``len(shape)`` dimensions."""
        return x.flatten(-len(self.shape)) if len(self.shape) > 1 else x

    def extra_repr(self) -> str:
        """What repr shows."""
        return f"shape={self.shape}"


class GatedDense(nn.Module):
    r"""A dense layer with a learned gate, as one matrix product.

    .. math:: h = (Wx + b) \odot \sigma(Vx + c)

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, after Dauphin et al. (2016).
        https://arxiv.org/abs/1705.07120

    Arguments:
        in_features: Size of the last dimension of the input.
        out_features: Size of the last dimension of the output.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)

    def forward(self, x: Tensor) -> Tensor:
        """``(*, in_features) -> (*, out_features)``."""
        require_precision(x, self.linear.weight, "GatedDense")
        return F.glu(self.linear(x))


class GatedConv2d(nn.Module):
    r"""A convolution with a learned gate, as one convolution.

    .. math:: h = (W * x + b) \odot \sigma(V * x + c)

    With a stride of 2 and the default padding, a side of n pixels becomes one of ceil(n / 2).

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, after Dauphin et al. (2016).
        https://arxiv.org/abs/1705.07120

    Arguments:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, an odd number; the padding is half of it.
        stride: Step from one output pixel to the next.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, 2 * out_channels, kernel_size, stride, padding=kernel_size // 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(rows, in_channels, H, W) -> (rows, out_channels, H', W')``."""
        require_precision(x, self.conv.weight, "GatedConv2d")
        return F.glu(self.conv(x), dim=1)


class GatedMerge(nn.Module):
    """A gated dense layer on the concatenation of two inputs, without forming the concatenation.

    The product is split by columns, so that an input without the sample dimension is multiplied
    once and broadcast over the samples.

    Arguments:
        first_features: Size of the last dimension of the first input.
        second_features: Size of the last dimension of the second input.
        out_features: Size of the last dimension of the output.
    """

    def __init__(self, first_features: int, second_features: int, out_features: int) -> None:
        super().__init__()
        self.first = nn.Linear(first_features, 2 * out_features)
        self.second = nn.Linear(second_features, 2 * out_features, bias=False)
        bound = 1.0 / math.sqrt(first_features + second_features)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def he_normal_(self) -> None:
        """N(0, 2 / fan_in) weights, where fan_in counts both inputs."""
        std = math.sqrt(2.0 / (self.first.in_features + self.second.in_features))
        nn.init.normal_(self.first.weight, std=std)
        nn.init.normal_(self.second.weight, std=std)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """``(*a, first_features), (*b, second_features) -> (*broadcast(a, b), out_features)``."""
        return F.glu(self.first(first) + self.second(second))


class MLP(nn.Sequential):
    """A multilayer perceptron with one activation after every hidden layer and none at the end.

    Arguments:
        in_features: Size of the last dimension of the input.
        out_features: Size of the last dimension of the output.
        hidden_features: Sizes of the hidden layers.
        activation: Class of the activation.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden_features: tuple[int, ...] = (256, 256),
        activation: type[nn.Module] = nn.SiLU,
    ) -> None:
        sizes = (in_features, *hidden_features, out_features)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])
