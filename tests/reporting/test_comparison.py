"""Models side by side: what a row shows is what the estimators found, and the picture holds every
row.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Independent, Normal

from priorwise import wrap
from priorwise.estimators import high_posterior_samples, low_posterior_samples
from priorwise.models import gated_vae, in_space
from priorwise.priors import FlowPrior
from priorwise.reporting import save_comparison
from priorwise.reporting.latents import latent_plane
from priorwise.reporting.portraits import portrait

DPI = 130
PANEL, GAP, ROW, LEGEND = 3.3, 0.75, 0.68 + 3.3 + 0.62, 0.72  # inches


def plain(prior=None, offset=0.0, latent=2):
    """Encodings are the observations moved by ``offset``; the decoder moves them back."""
    return wrap(
        encode=lambda x: Independent(
            Normal(x + offset, 0.3, validate_args=False), 1, validate_args=False
        ),
        decode=lambda z: z - offset,
        latent=latent,
        prior=prior,
        modules=(),
    )


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_row_shows_what_the_estimators_found():
    """Fault: other draws than those of the estimators, pockets and leaks exchanged, z in place of
    z0.
    """
    model, x = plain(FlowPrior(2)), torch.randn(50, 2)
    row = portrait(model, x, x, shown=7, draws=300, seed=4)
    low = low_posterior_samples(model, x, count=7, draws=300, seed=4)
    high = high_posterior_samples(model, x, count=7, draws=300, seed=4)
    assert torch.equal(row.z.pockets, low.z)
    assert torch.equal(row.z.leaks, high.z)
    assert torch.equal(row.low.x, low.x)
    assert row.z0 is not None
    assert torch.allclose(row.z0.pockets, in_space(model, low.z, "generation").detach(), atol=1e-5)
    assert row.z0.axes == ("z0[0]", "z0[1]")
    contrast = float((low.log_q - low.log_p).median())
    assert row.numbers["pockets"].at_least == pytest.approx(contrast)
    assert row.about == "FlowPrior"


def test_the_prior_is_normal_in_z0():
    """1000 draws: means within 5.2 standard errors of 0. Fault: draws of z shown as z0, which an
    untrained flow moves.
    """
    row = portrait(plain(FlowPrior(2)), torch.randn(50, 2), torch.randn(50, 2), shown=3, draws=100)
    assert float(row.z0.prior.mean(0).abs().max()) < 5.2 / 1000**0.5
    assert row.z0.prior.std(0).tolist() == pytest.approx([1.0, 1.0], abs=5.2 / 2000**0.5)


def test_numbers_see_the_hole():
    """Encodings 6 off the prior: pockets have a q far below p, leaks a p far below q; without a
    hole both are small.
    """
    x = torch.randn(400, 2) * 0.91**0.5  # with deviation 0.3, q(z) is close to N(0, I)
    good = portrait(plain(), x, x, shown=20, draws=400).numbers
    bad = portrait(plain(offset=6.0), x, x, shown=20, draws=400).numbers
    assert bad["pockets"].at_least < -30 < 30 < bad["leaks"].at_least <= bad["leaks"].at_most
    assert bad["pockets"].at_most is None
    assert abs(good["pockets"].at_least) < 10
    assert -10 < good["leaks"].at_least < good["leaks"].at_most < 10


def test_plane_holds_the_directions_of_largest_variance():
    """Deviations 1, 9 and 5: the plane keeps the last two,
    and all clouds go through the same axes.
    """
    z = torch.randn(4000, 3) * torch.tensor([1.0, 9.0, 5.0])
    far = torch.tensor([[0.0, 50.0, 0.0]])
    plane = latent_plane(z, z, far, far, letter="z0")
    assert plane.encodings.std(0).tolist() == pytest.approx([9.0, 5.0], rel=0.1)
    assert plane.explained == pytest.approx(106 / 107, abs=0.005)
    assert plane.pockets.abs().squeeze().tolist() == pytest.approx([50.0, 0.0], abs=1.5)
    assert plane.axes == ("z0: principal component 1", "z0: principal component 2")


def test_one_row_a_model(tmp_path):
    """Fault: a row that is cut, no place for z0, the rows of other models left out."""
    data = torch.randn(120, 2)
    rows = save_comparison(
        {"plain": plain(), "dp": plain(FlowPrior(2))}, data, tmp_path / "a.png", draws=200
    )
    assert [row.about for row in rows.values()] == ["StandardNormal", "FlowPrior"]
    assert pixels(tmp_path / "a.png").shape[:2] == pytest.approx(
        (DPI * (LEGEND + 2 * ROW), DPI * (4 * (PANEL + GAP) + 0.25)), abs=1
    )
    save_comparison({"plain": plain()}, data, tmp_path / "b.png", draws=200)
    assert pixels(tmp_path / "b.png").shape[:2] == pytest.approx(
        (DPI * (LEGEND + ROW), DPI * (3 * (PANEL + GAP) + 0.25)), abs=1
    )


def test_rows_of_images(tmp_path):
    """The first samples stand in the upper left corner of their panel. Fault: pockets in the place
    of samples.
    """
    model = gated_vae((1, 4, 4), latent=3, hidden=6)
    rows = save_comparison(
        {"images": model}, torch.rand(60, 1, 4, 4), tmp_path / "a.png", draws=100
    )
    picture = pixels(tmp_path / "a.png")
    cell = PANEL / 6
    top, right = LEGEND + 0.68, GAP + 2 * (PANEL + GAP)
    for left, shown in ((GAP, rows["images"].samples), (right, rows["images"].low.x)):
        at = [
            round(DPI * (start + cell * 3 / 8)) for start in (top, left)
        ]  # the middle of the second pixel of four
        assert picture[at[0], at[1], 0] == pytest.approx(255 * float(shown[0, 0, 1, 1]), abs=2)


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one of `models`; got none"):
        save_comparison({}, torch.randn(60, 2), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"to draw them; got shape \(5,\)"):
        save_comparison({"a": plain(latent=5)}, torch.randn(60, 5), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"ends in \.png; got 'a\.gif'"):
        save_comparison({"a": plain()}, torch.randn(60, 2), tmp_path / "a.gif", draws=20)
    with pytest.raises(TypeError, match="expected an encoder that returns an Independent Normal"):
        save_comparison(
            {"a": wrap(encode=lambda x: x, decode=lambda z: z, latent=2, modules=())},
            torch.randn(60, 2),
            tmp_path / "a.png",
        )
    assert not list(tmp_path.iterdir())
