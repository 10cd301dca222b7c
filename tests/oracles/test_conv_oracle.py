"""Convolutional networks: shapes, sizes, non-linearity, and an initialisation that keeps the
variance.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from priorwise.backbones import IMAGE_BODIES, moons_decoder_body, moons_encoder_body
from priorwise.likelihoods import (
    Bernoulli,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gaussian,
)
from priorwise.models import conv_vae, moons_vae
from priorwise.nn import Rows, he_normal_
from priorwise.priors import FlowPrior
from priorwise.testing import check_mean, check_model


@pytest.mark.parametrize("name", IMAGE_BODIES)
@pytest.mark.parametrize("leading", [(2,), (2, 3), (1, 1, 2)])
def test_any_leading_dimensions(name, leading):
    """Fault: a convolution that takes rows only, or rows put back in another order."""
    bodies = IMAGE_BODIES[name]
    encoder, decoder = bodies.encoder().eval(), bodies.decoder(3).eval()
    x, z = torch.randn(*leading, *bodies.shape), torch.randn(*leading, 3)
    with torch.no_grad():
        features, pixels = encoder(x), decoder(z)
        assert features.shape == (*leading, bodies.features)
        assert pixels.shape == (*leading, math.prod(bodies.shape))
        last = (-1,) * len(leading)
        torch.testing.assert_close(features[last], encoder(x[last][None])[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(pixels[last], decoder(z[last][None])[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mnist", "mnist_factor", "svhn"])
def test_models_of_images(name):
    """Fault: pixels that are flattened in another order than they are put back."""
    shape = IMAGE_BODIES[name].shape
    check_model(conv_vae(name, prior=FlowPrior(2), latent=2).eval(), torch.rand(3, *shape))


def test_parameters_as_many_as_the_papers():
    """Fault: a layer too few. Facts of the published code, counted layer by layer; the likelihood's
    scale is fixed.
    """

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    def conv(*channels: int, kernels: tuple[int, ...]) -> int:
        return sum(
            (a * k * k + 1) * b for (a, b), k in zip(pairwise(channels), kernels, strict=True)
        )

    def dense(*sizes: int) -> int:
        return sum((a + 1) * b for a, b in pairwise(sizes))

    def fixed(features: int | None, shape: tuple[int, ...]) -> nn.Module:
        return Gaussian(features, shape, scale=0.5)

    mnist = conv(1, 32, 32, 32, 32, kernels=(4, 3, 4, 3)) + dense(512, 256, 256, 4)
    mnist += dense(2, 256, 256, 512) + conv(32, 32, 32, 32, 1, kernels=(3, 4, 3, 4))
    assert count(conv_vae("mnist", likelihood=fixed, latent=2)) == mnist == 467_173
    factor = conv(1, 32, 64, 64, 256, 256, kernels=(4, 3, 4, 3, 4)) + dense(256, 4)
    factor += dense(2, 256) + conv(256, 256, 64, 64, 32, 1, kernels=(4, 3, 4, 3, 4))
    assert count(conv_vae("mnist_factor", likelihood=fixed, latent=2)) == factor
    svhn = conv(3, *[32] * 8, kernels=(4, 3, 4, 3, 3, 3, 3, 3)) + 8 * 64 + dense(512, 20)
    svhn += dense(10, 512) + conv(*[32] * 8, 3, kernels=(3, 3, 3, 3, 4, 3, 4, 3))
    assert count(conv_vae("svhn", likelihood=fixed, latent=10)) == svhn
    widths = (3, 32, 64, 128, 256, 256)
    celeba = conv(*widths, kernels=(4,) * 5) + 2 * sum(widths[1:]) + dense(1024, 120)
    celeba += dense(60, 1024) + conv(*widths[::-1], kernels=(3,) * 5) + 2 * sum(widths[1:-1])
    assert count(conv_vae("celeba", likelihood=fixed, latent=60)) == celeba
    moons = dense(2, 100, 50, 4) + dense(2, 50, 100, 2)
    assert count(moons_vae(likelihood=fixed)) == moons


def bodies() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    networks = {}
    for name, body in IMAGE_BODIES.items():
        networks[f"{name}, encoder"] = he_normal_(body.encoder()).eval(), torch.randn(body.shape)
        networks[f"{name}, decoder"] = he_normal_(body.decoder(4)).eval(), torch.randn(4)
    networks["moons, encoder"] = moons_encoder_body((2,)), torch.randn(2)
    networks["moons, decoder"] = moons_decoder_body(2), torch.randn(2)
    return networks


@pytest.mark.parametrize("name", bodies())
def test_networks_are_no_linear_maps(name):
    """Fault: a slope of 1, by which the published networks for CelebA and two moons are linear.

    Of a linear map f, f(x) + f(-x) = 2 f(0); batch normalisation is affine in evaluation mode.
    """
    body, x = bodies()[name]
    with torch.no_grad():
        middle = body(torch.zeros_like(x)[None])
        bent = body(x[None]) + body(-x[None]) - 2 * middle
        assert float(bent.norm()) > 0.1 * float((body(x[None]) - middle).norm())
        for layer in body.modules():
            if isinstance(layer, nn.LeakyReLU):
                assert layer.negative_slope == 0.01
                layer.negative_slope = 1.0  # the planted fault
        if any(isinstance(layer, nn.LeakyReLU) for layer in body.modules()):
            linear = body(x[None]) + body(-x[None]) - 2 * body(torch.zeros_like(x)[None])
            assert float(linear.norm()) < 1e-3 * float((body(x[None]) - middle).norm())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 3000, 3),
        nn.Conv2d(8, 3000, 4, stride=2, padding=1),
        nn.ConvTranspose2d(8, 3000, 3, bias=False),
        nn.ConvTranspose2d(8, 3000, 4, stride=2, padding=1, bias=False),
    ],
    ids=["3x3", "4x4, stride 2", "transposed 3x3", "transposed 4x4, stride 2"],
)
def test_initialisation_keeps_the_variance(layer):
    """Fault: fan-out, or a stride that is not counted: what reaches one output of a transposed
    layer is thinned by it.

    Of ones, the mean square is 1; a gain of 2 makes up for the half that a ReLU takes. Away from
    the border.
    """
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    he_normal_(layer)
    with torch.no_grad():
        y = layer(torch.ones(1, 8, 8, 8))[0, :, 2, 2]
    check_mean(y.square(), 2.0, "the mean square")


@pytest.mark.parametrize("name", ["mnist", "mnist_factor"])
def test_signal_comes_through(name):
    """Fault: a start at which eight layers shrink an image to nothing, as torch's default does: the
    latents are ignored.

    Over 30 seeds the spread of a pixel was 0.07 to 0.5, and at least 37 times that of the default.
    """
    decoder, z = IMAGE_BODIES[name].decoder(2), torch.randn(200, 2)
    with torch.no_grad():
        small, kept = (
            float(network(z).std(0).mean())
            for network in (decoder, he_normal_(copy.deepcopy(decoder)))
        )
    assert kept > 0.04
    assert kept > 20 * small


def test_convolutions_lie_with_channels_last():
    """Fault: an order of memory that costs time at every step."""
    for body in IMAGE_BODIES.values():
        for layer in [*body.encoder().modules(), *body.decoder(2).modules()]:
            if isinstance(layer, Rows):
                weights = [
                    part.weight
                    for part in layer.modules()
                    if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))
                ]
                assert all(
                    weight.is_contiguous(memory_format=torch.channels_last) for weight in weights
                )


def test_pixels_are_the_likelihoods_numbers():
    """Fault: a dense layer behind the last convolution."""
    pixels = torch.randn(5, 2, 8)
    law = Gaussian(None, (2, 4), scale=0.5)(pixels)
    assert torch.equal(law.mean, pixels.unflatten(-1, (2, 4)))
    assert torch.equal(Bernoulli(None, (2, 4))(pixels).mean, pixels.unflatten(-1, (2, 4)).sigmoid())
    assert not list(Bernoulli(None, (8,)).parameters())


@pytest.mark.parametrize(
    ("head", "outputs"),
    [(Bernoulli, 3), (DiscretizedLogistic, 6), (DiscretizedLogisticMixture, 100)],
)
def test_planes_have_one_map_for_all_pixels(head, outputs):
    """Fault: planes that are mixed up with rows or columns; a weight for each pixel.

    The numbers of a pixel depend on its own features alone, and moved features move them along.
    """
    part, planes = head((5, 4, 3), (3, 4, 3)), torch.randn(2, 5, 4, 3)
    assert sum(parameter.numel() for parameter in part.parameters()) == outputs * (5 + 1)
    moved, one = planes.roll((1, 2), (-2, -1)), planes.clone()
    one[..., 2, 1] += 1.0
    with torch.no_grad():
        mean, touched = part(planes).mean, part(one).mean - part(planes).mean
        torch.testing.assert_close(part(moved).mean, mean.roll((1, 2), (-2, -1)))
    assert touched[..., 2, 1].abs().min() > 0
    touched[..., 2, 1] = 0.0
    assert not touched.any()
    dense = Bernoulli(5, (2, 1, 1))
    pixelwise = Bernoulli((5, 1, 1), (2, 1, 1))
    pixelwise.load_state_dict(
        {
            "logits.module.0.weight": dense.logits.weight[:, :, None, None],
            "logits.module.0.bias": dense.logits.bias,
        }
    )
    h = torch.randn(6, 5)
    torch.testing.assert_close(pixelwise(h[:, :, None, None]).mean, dense(h).mean)


def test_refusals():
    """Fault: an unknown network that ends in a key error; a likelihood that has no features to make
    its numbers of.
    """
    with pytest.raises(
        ValueError,
        match="expected `network` as one of mnist, mnist_factor, svhn, celeba; got 'cifar'",
    ):
        conv_vae("cifar")
    for build, what in [
        (lambda features, shape: Gaussian(features, shape, scale="predicted"), "a predicted scale"),
        (DiscretizedLogistic, "DiscretizedLogistic"),
        (DiscretizedLogisticMixture, "DiscretizedLogisticMixture"),
    ]:
        with pytest.raises(
            ValueError, match=f"expected `in_features` for {what}, which computes several numbers"
        ):
            conv_vae("mnist", likelihood=build)
    for planes in [(8, 4, 5), (8, 16)]:
        with pytest.raises(ValueError, match=r"expected `in_features` as \(F, H, W\)"):
            Bernoulli(planes, (1, 4, 4))
