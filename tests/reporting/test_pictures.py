"""Pictures hold what they say; pockets and leaks are where they must be."""

import numpy as np
import pytest
import torch
from pages import picture
from torch.distributions import Independent, Normal

from priorwise import wrap
from priorwise.estimators import high_posterior_samples, low_posterior_samples
from priorwise.reporting.figures import (
    curves_figure,
    images_uri,
    latent_figure,
    pairs,
    points_figure,
)
from priorwise.reporting.latents import latent_map
from priorwise.reporting.pictures import grid
from priorwise.testing import LinearGaussianVAE


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_keeps_its_pixels(channels):
    x = torch.rand(5, channels, 4, 4)
    canvas = (grid(x, 3) * 255).round().to(torch.uint8).numpy()
    pixels = np.asarray(picture(images_uri(x, 3)))
    factor = pixels.shape[1] // canvas.shape[2]
    kept = pixels[::factor, ::factor]
    assert (kept == (canvas[0] if channels == 1 else canvas.transpose(1, 2, 0))).all()


def test_pairs_set_each_row_above_its_counterpart():
    x, y = torch.zeros(5, 1, 1, 1), torch.ones(5, 1, 1, 1)
    assert pairs(x, y, 3).flatten().tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]


def two_dimensional(offset: float = 0.0, scale: float = 0.1):
    """Encodings are the observations, moved by ``offset`` along the first axis; the decoder moves
    them back.
    """
    shift = torch.tensor([offset, 0.0])
    return wrap(
        encode=lambda x: Independent(
            Normal(x + shift, scale, validate_args=False), 1, validate_args=False
        ),
        decode=lambda z: Independent(
            Normal(z - shift, 0.1, validate_args=False), 1, validate_args=False
        ),
        latent=2,
        modules=(),
    )


def test_leaks_are_the_encodings_that_the_prior_finds_least_likely():
    """Under N(0, I) these are the longest ones. Planted fault: the order of the sort."""
    x = torch.randn(60, 2)
    latents = latent_map(two_dimensional(2.0, scale=1e-4), x, x, marked=5)
    length = (x + torch.tensor([2.0, 0.0])).norm(dim=1)
    assert torch.equal(latents.leak_images, x[length.argsort(descending=True)[:5]])
    torch.testing.assert_close(
        latents.plane.leaks, latents.leak_images + torch.tensor([2.0, 0.0]), rtol=0, atol=1e-3
    )


def test_pockets_are_the_prior_draws_farthest_from_the_encodings():
    """With one encoding, q(z) is one Gaussian about it: of 500 draws 4 lie beyond the quantile of
    1 - 4/500, up to the noise of 500 others. Planted fault: ranking by the prior's own density.
    """
    centre, one = torch.tensor([3.0, 0.0]), torch.zeros(1, 2)
    model = two_dimensional(3.0, scale=0.5)
    latents = latent_map(model, torch.randn(20, 2), one, marked=4)
    others, far = ((z - centre).norm(dim=1) for z in (latents.plane.prior, latents.plane.pockets))
    assert len(others) == 500
    assert float(far.min()) > float(others.quantile(0.97))
    assert torch.allclose(latents.pocket_images, latents.plane.pockets - centre, atol=1e-5)


def test_the_ranking_is_that_of_the_estimators():
    """Fault: pockets of a report that are not those of ``low_posterior_samples``."""
    model, x = two_dimensional(1.0), torch.randn(30, 2)
    latents = latent_map(model, x, x, draws=200, marked=6, seed=3)
    low = low_posterior_samples(model, x, count=6, draws=200, seed=3)
    high = high_posterior_samples(model, x, count=6, draws=30, seed=3)
    assert torch.equal(latents.plane.pockets, low.z)
    assert torch.equal(latents.plane.leaks, high.z)
    assert torch.equal(latents.leak_images, x[high.images])


def test_more_marks_than_points_mark_all():
    latents = latent_map(two_dimensional(), torch.randn(3, 2), torch.randn(3, 2), draws=4, marked=9)
    assert (len(latents.plane.pockets), len(latents.plane.leaks)) == (4, 3)


def test_plane_holds_the_directions_of_largest_variance():
    """Encodings with standard deviations 9, 5 and 1 on the axes: the plane must hold (81 + 25) /
    107 of the variance.
    """
    x = torch.randn(4000, 3) * torch.tensor([1.0, 9.0, 5.0])
    model = wrap(
        encode=lambda x: Independent(Normal(x, 1e-3, validate_args=False), 1, validate_args=False),
        decode=lambda z: z,
        latent=3,
        modules=(),
    )
    latents = latent_map(model, x, x[:10])
    assert latents.explained == pytest.approx(106 / 107, abs=0.005)
    assert latents.plane.encodings.std(0).tolist() == pytest.approx([9.0, 5.0], rel=0.1)
    assert latents.dimensions == 3


def test_figures_are_pictures():
    model = LinearGaussianVAE(2, 3)
    x = model.sample(30, mean=False, seed=0)
    history = [{"epoch": epoch, "validation": {"loss": 10.0 / epoch}} for epoch in range(1, 6)]
    for uri in (
        latent_figure(latent_map(model, x, x)),
        points_figure(torch.randn(9, 2), torch.randn(9, 2)),
        curves_figure({"a": history, "b": history[:1]}, "loss"),
    ):
        shown = np.asarray(picture(uri).convert("RGB"))
        assert min(shown.shape[:2]) > 300
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 10


def test_a_latent_of_one_dimension_is_drawn_on_a_line():
    model = LinearGaussianVAE(1, 3)
    x = model.sample(20, mean=False, seed=0)
    latents = latent_map(model, x, x)
    assert latents.plane.encodings.shape == (20, 2)
    assert bool((latents.plane.encodings[:, 1] == 0).all())
    assert latent_figure(latents)
