"""The VAE of residual convolutions: any size of image, no dependence on the batch, and a start from
which the latents are used.
"""

import math
from functools import partial

import pytest
import torch
from torch import nn

from priorwise import likelihoods
from priorwise.backbones import (
    ResidualBlock,
    residual_decoder_body,
    residual_encoder_body,
    residual_sizes,
)
from priorwise.models import residual_vae
from priorwise.nn import Rows
from priorwise.priors import VampPrior
from priorwise.testing import check_model

SHAPES = [(1, 17, 23), (3, 32, 32), (2, 1, 9), (3, 5, 4), (1, 1, 1), (1, 100, 80)]
HEADS = {
    "bernoulli": likelihoods.Bernoulli,
    "gaussian": likelihoods.Gaussian,
    "predicted": partial(likelihoods.Gaussian, scale="predicted"),
    "logistic": likelihoods.DiscretizedLogistic,
    "mixture": partial(likelihoods.DiscretizedLogisticMixture, components=2),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_size_and_any_leading_dimensions(shape):
    """Fault: sides that are rounded down on the way, pixels that are cropped on one way only, rows
    in another order.
    """
    encoder, decoder = residual_encoder_body(shape, 16), residual_decoder_body(shape, 3, 16)
    x, z = torch.randn(2, 2, *shape), torch.randn(2, 2, 3)
    with torch.no_grad():
        features, planes = encoder(x), decoder(z)
        assert features.shape == (2, 2, math.prod(residual_sizes(shape, 16)[-1]))
        assert planes.shape == (2, 2, 8, *shape[1:])
        spread = planes.flatten(0, 1).std(0).sum(0)
        assert spread.min() > 0  # the latents reach every pixel
        torch.testing.assert_close(features[1, 0], encoder(x[1, 0]), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(planes[1, 0], decoder(z[1, 0]), rtol=1e-3, atol=1e-4)


def test_every_pixel_reaches_the_features():
    """Fault: a last row or column that a strided convolution leaves out."""
    x = torch.randn(1, 2, 17, 23, requires_grad=True)
    residual_encoder_body((2, 17, 23), 16)(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0


def test_sizes_of_the_levels():
    """Fault: a level too many for a small image, or widths that grow without end."""
    assert residual_sizes((3, 64, 64), 32) == [
        (32, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (128, 4, 4),
    ]
    assert residual_sizes((1, 17, 23), 8) == [(8, 9, 12), (16, 5, 6), (32, 3, 3)]
    assert residual_sizes((1, 3, 2), 8) == [(8, 2, 1)]
    with pytest.raises(ValueError, match=r"expected images, `shape` as \(C, H, W\); got \(6,\)"):
        residual_vae((6,))


@pytest.mark.parametrize("planes", [2, 12, 44])
def test_any_width(planes):
    """Fault: groups that do not divide the planes."""
    h = torch.randn(2, planes, 3, 3)
    assert ResidualBlock(planes)(h).shape == h.shape


def test_parameters_grow_with_the_logarithm_of_the_size():
    """Fault: a dense layer on all pixels. From 64x64 to 256x256 there are two levels more."""
    whole = residual_vae((3, 64, 64), likelihood=likelihoods.DiscretizedLogistic)
    assert sum(each.numel() for each in whole.parameters()) == 2_832_278
    small, large = (
        sum(each.numel() for each in residual_vae((3, side, side), width=16).parameters())
        for side in (64, 256)
    )
    # down, two blocks of two convolutions, and up; with their biases and four normalisations
    level = 64 * 64 * (9 + 4 * 9 + 16) + 6 * 64 + 4 * 2 * 64
    assert large - small == 2 * level


@pytest.mark.parametrize("name", HEADS)
def test_every_likelihood_and_any_prior(name):
    """Fault: a head that does not take planes; a prior whose pseudo-inputs are not images."""
    shape = (3, 6, 5)
    prior = VampPrior.random(3, shape, mean=0.5, std=0.2)
    model = residual_vae(shape, prior=prior, likelihood=HEADS[name], latent=2, width=4)
    check_model(model, torch.bernoulli(torch.full((3, *shape), 0.5)))


def test_nothing_depends_on_the_batch():
    """Fault: batch normalisation, by which pseudo-inputs would meet the statistics of others."""
    model = residual_vae((1, 9, 7), latent=2, width=4).train()
    x = torch.rand(5, 1, 9, 7)
    with torch.no_grad():
        alone = torch.cat([model.encoder(each[None]).mean for each in x])
        torch.testing.assert_close(model.encoder(x).mean, alone)
    assert not list(model.encoder.buffers())


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 64, 64)])
def test_latents_and_images_come_through_at_the_start(shape):
    """Fault: a start at which the code ignores the image, or the image the code.

    Of images of one colour each. Over 6 seeds the mean spread of four models was at least 0.19 and
    0.35, and with torch's default weights at most 0.06 and 0.03.
    """
    codes, planes = 0.0, 0.0
    for _ in range(4):
        model = residual_vae(shape, latent=8, width=16)
        with torch.no_grad():
            x = torch.rand(30, 3, 1, 1).expand(30, *shape)
            codes += float(model.encoder(x).mean.std(0).mean()) / 4
            planes += float(model.decoder.body(torch.randn(30, 8)).std(0).mean()) / 4
    assert codes > 0.1
    assert 0.2 < planes < 1.0


def test_blocks_start_at_the_identity_and_are_learned():
    """Fault: a block that starts at the identity and stays there."""
    block, h = ResidualBlock(3), torch.randn(2, 3, 4, 4)
    assert torch.equal(block(h), h)
    block(h).square().sum().backward()
    assert block.layers[-1].weight.grad.abs().max() > 0


def test_convolutions_lie_with_channels_last():
    """Fault: an order of memory that costs time at every step."""
    for part in residual_vae((3, 9, 9), width=4).modules():
        if isinstance(part, Rows):
            weights = [
                layer.weight
                for layer in part.modules()
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            ]
            assert weights
            assert all(each.is_contiguous(memory_format=torch.channels_last) for each in weights)
