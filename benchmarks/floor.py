"""The floor: the matrix products that no implementation can avoid, and nothing else.

A training step multiplies forwards once and backwards twice, for the gradients of the weights and
of the inputs. The gradient of the data is not counted, nor the product with an identity matrix by
which some implementations form pseudo-inputs; that of trainable pseudo-inputs is. Weights lie as
``nn.Linear`` keeps them, outputs are allocated beforehand, and the two halves of a gated layer are
one product.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.contenders import Architecture
from benchmarks.images import SHAPE
from benchmarks.scale import Scale

__all__ = [
    "Product",
    "decoder_pass",
    "factor_flops",
    "flops",
    "forward_pass",
    "likelihood_pass",
    "products",
    "training_pass",
]


@dataclass(frozen=True)
class Product:
    """A dense layer on some rows: ``(rows, inputs) -> (rows, outputs)``.

    Attributes:
        rows: Rows at once.
        inputs: Size of the input.
        outputs: Size of the output.
        input_gradient: Whether training needs the gradient of the input.
    """

    rows: int
    inputs: int
    outputs: int
    input_gradient: bool = True

    @property
    def once(self) -> int:
        """Operations of the product itself."""
        return 2 * self.rows * self.inputs * self.outputs

    @property
    def flops(self) -> int:
        """Operations of one training step."""
        return self.once * (3 if self.input_gradient else 2)


def _encoder(rows: int, scale: Scale, *, input_gradient: bool) -> list[Product]:
    pixels, hidden = SHAPE[0] * SHAPE[1] * SHAPE[2], scale.hidden
    return [
        Product(rows, pixels, 2 * hidden, input_gradient),
        Product(rows, hidden, 2 * hidden),
        Product(rows, hidden, 2 * scale.latent),
    ]


def _decoder(rows: int, scale: Scale) -> list[Product]:
    pixels, hidden = SHAPE[0] * SHAPE[1] * SHAPE[2], scale.hidden
    return [
        Product(rows, scale.latent, 2 * hidden),
        Product(rows, hidden, 2 * hidden),
        Product(rows, hidden, pixels),
    ]


def _lower_group(rows: int, scale: Scale) -> list[Product]:
    """What the HVAE has beside the encoder of its top: q(z1|x, z2), p(z1|z2) and p(x|z1, z2)."""
    pixels, hidden, latent = SHAPE[0] * SHAPE[1] * SHAPE[2], scale.hidden, scale.latent
    meeting = [Product(rows, hidden, 2 * hidden)] * 2
    return [
        Product(rows, pixels, 2 * hidden, input_gradient=False),
        Product(rows, latent, 2 * hidden),
        *meeting,
        Product(rows, hidden, 2 * latent),
        Product(rows, latent, 2 * hidden),
        Product(rows, hidden, 2 * hidden),
        Product(rows, hidden, 2 * latent),
        Product(rows, latent, 2 * hidden),
        Product(rows, latent, 2 * hidden),
        *meeting,
        Product(rows, hidden, pixels),
    ]


def products(architecture: Architecture, scale: Scale) -> list[Product]:
    """The products of one training step."""
    needed = _encoder(scale.batch, scale, input_gradient=False)
    if architecture != "vae_standard":
        needed += _encoder(scale.components, scale, input_gradient=True)
        needed.append(
            Product(scale.batch, 2 * scale.latent, scale.components)
        )  # the mixture density
    lower = architecture == "hvae_vamp"
    return needed + (_lower_group(scale.batch, scale) if lower else _decoder(scale.batch, scale))


def flops(needed: Iterable[Product]) -> int:
    """Operations of one training step."""
    return sum(product.flops for product in needed)


def factor_flops(scale: Scale, hidden: tuple[int, ...] = (1000,) * 5) -> int:
    """Operations that a step of FactorVAE adds to the plain one.

    They are the discriminator in both turns, and encoding once more.

    The model's turn needs no gradient of the discriminator's weights; the discriminator's turn has
    two rows for each image.
    """
    sizes = list(pairwise((scale.latent, *hidden, 2)))
    passed = sum(2 * Product(scale.batch, before, after).once for before, after in sizes)
    trained = flops(
        Product(2 * scale.batch, *size, input_gradient=place > 0)
        for place, size in enumerate(sizes)
    )
    return (
        passed
        + trained
        + sum(product.once for product in _encoder(scale.batch, scale, input_gradient=False))
    )


class _Buffers:
    """Arguments and results of one layer's products, filled with numbers of order one."""

    def __init__(self, product: Product, *, backward: bool) -> None:
        self.x = torch.randn(product.rows, product.inputs)
        self.weight = torch.randn(product.outputs, product.inputs)
        self.y = torch.randn(product.rows, product.outputs)
        self.weight_gradient = torch.empty_like(self.weight) if backward else None
        self.x_gradient = torch.empty_like(self.x) if backward and product.input_gradient else None

    def forward(self) -> Tensor:
        return torch.mm(self.x, self.weight.t(), out=self.y)

    def backward(self) -> None:
        torch.mm(self.y.t(), self.x, out=self.weight_gradient)
        if self.x_gradient is not None:
            torch.mm(self.y, self.weight, out=self.x_gradient)


def training_pass(needed: Iterable[Product]) -> Callable[[], None]:
    """All products of a training step, at a call."""
    layers = [_Buffers(product, backward=True) for product in needed]

    @torch.no_grad()
    def run() -> None:
        for layer in layers:
            layer.forward()
        for layer in reversed(layers):
            layer.backward()

    return run


def forward_pass(needed: Iterable[Product], repeats: int = 1) -> Callable[[], None]:
    """The products without gradients, so many times at a call."""
    layers = [_Buffers(product, backward=False) for product in needed]

    @torch.no_grad()
    def run() -> None:
        for _ in range(repeats):
            for layer in layers:
                layer.forward()

    return run


def decoder_pass(draws: int, scale: Scale, *, rows: int = 1000) -> Callable[[], None]:
    """The decoder's products on so many latents, ``rows`` at once, at a call."""
    return forward_pass(_decoder(min(rows, draws), scale), max(1, draws // rows))


def likelihood_pass(
    draws: int, scale: Scale, *, components: int = 0, rows: int = 1000
) -> Callable[[], None]:
    """What a likelihood cannot do without: all products, and one function of each number.

    The functions are the sigmoids of the gates, the softplus of the pixels and the exponentials of
    the components, each in one pass into an array that lies ready.
    """
    rows = min(rows, draws)
    needed = _decoder(rows, scale)
    needed += [Product(rows, 2 * scale.latent, components)] if components else []
    products = forward_pass(needed)
    gates = [torch.randn(rows, scale.hidden) for _ in range(2)]
    pixels = torch.randn(rows, SHAPE[0] * SHAPE[1] * SHAPE[2])
    exponents = torch.randn(rows, components)
    results = [torch.empty_like(x) for x in (*gates, pixels, exponents)]

    @torch.no_grad()
    def run() -> None:
        for _ in range(max(1, draws // rows)):
            products()
            for gate, result in zip(gates, results[:2], strict=True):
                torch.sigmoid(gate, out=result)
            results[2] = F.softplus(pixels)
            torch.exp(exponents, out=results[3])

    return run
