"""Discretised logistics: masses sum to one, against scipy in double precision,
draws by chi-square.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from priorwise.distributions import DiscretizedLogistic, DiscretizedLogisticMixture
from priorwise.testing import ALPHA


def all_levels(levels):
    return (torch.arange(levels) + 0.5) / levels


def masses(loc, log_scale, *, levels=256, tails=True):
    """The probability of every level, for each location."""
    shape = (levels, *loc.shape)
    law = DiscretizedLogistic(loc, log_scale, levels=levels, tails=tails, event_dims=1)
    x = all_levels(levels).reshape(levels, *[1] * loc.dim()).expand(shape)
    return law.log_prob(x).double().exp()


@pytest.mark.parametrize("log_scale", [-7.0, -4.5, -2.0, 0.0, 2.0])
@pytest.mark.parametrize("loc", [-0.3, 0.0, 0.002, 0.5, 0.77, 1.0, 1.5])
def test_masses_sum_to_one_with_tails(loc, log_scale):
    """Fault: a missing tail, a bin counted twice, a floor under small masses."""
    total = masses(torch.tensor([loc]), torch.tensor([log_scale])).sum()
    assert float(total) == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_masses_sum_to_the_paper_form_without_tails(levels):
    """Fault: tails where there should be none. The sum is S(right) - S(left), and 1e-7 for each
    bin.
    """
    loc, scale = 0.3, math.exp(-1.5)
    total = masses(torch.tensor([loc]), torch.tensor([-1.5]), levels=levels, tails=False).sum()
    expected = expit((1 - loc) / scale) - expit((0 - loc) / scale) + levels * 1e-7
    assert float(total) == pytest.approx(expected, abs=1e-5)
    assert expected < 0.97


def test_every_bin_against_double_precision():
    """Fault: an off-by-one in the edges, edge bins without their tail,
    a scale in place of its log.
    """
    loc, scale, levels = 0.4, 0.07, 16
    edges = expit((np.arange(levels + 1) / levels - loc) / scale)
    edges[0], edges[-1] = 0.0, 1.0
    ours = masses(torch.tensor([loc]), torch.tensor([math.log(scale)]), levels=levels)
    np.testing.assert_allclose(ours.numpy(), np.diff(edges), rtol=1e-4)


def test_masses_far_out_have_no_floor():
    """Fault: a difference of sigmoids in float32, which is 0 or a floor of 1e-7 at 20 scales from
    the location.
    """
    loc, scale = 0.9, 0.01
    truth = np.log(expit((52 / 256 - loc) / scale) - expit((51 / 256 - loc) / scale))
    law = DiscretizedLogistic(torch.tensor([loc]), torch.tensor([math.log(scale)]))
    assert truth < -60
    assert float(law.log_prob(torch.tensor([51.5 / 256]))) == pytest.approx(truth, abs=1e-3)
    mirrored = DiscretizedLogistic(torch.tensor([1 - loc]), torch.tensor([math.log(scale)]))
    assert float(mirrored.log_prob(torch.tensor([1 - 51.5 / 256]))) == pytest.approx(
        truth, abs=1e-3
    )


def test_gradients_are_finite_everywhere():
    """Fault: a gradient of NaN from the branch that `where` does not take."""
    loc = torch.linspace(-2, 3, 41).repeat(256, 1).requires_grad_()
    log_scale = torch.full_like(loc, -7.0).requires_grad_()
    x = all_levels(256)[:, None].expand(256, 41)
    law = DiscretizedLogistic(loc, log_scale)
    for gradient in torch.autograd.grad(law.log_prob(x).sum(), [loc, log_scale]):
        assert gradient.isfinite().all()


def test_image_levels_fall_into_bins_of_their_own():
    """Fault: pixels j / 255 of which two share a bin, or 1.0 that falls outside."""
    images = torch.arange(256) / 255
    law = DiscretizedLogistic(torch.rand(1), torch.tensor([-2.0]))
    expected = law.log_prob(all_levels(256)[:, None])
    torch.testing.assert_close(law.log_prob(images[:, None]), expected)


def test_draws_follow_the_masses():
    """Fault: draws that are not put into bins, a probit for a logit, tails that are lost."""
    loc, log_scale, levels = torch.tensor([0.1]), torch.tensor([-2.0]), 8
    law = DiscretizedLogistic(loc, log_scale, levels=levels)
    x = law.sample((40_000,))
    counts = (x * levels).floor().long().flatten().bincount(minlength=levels)
    expected = masses(loc, log_scale, levels=levels)
    assert set(x.unique().tolist()) <= set(all_levels(levels).tolist())
    assert (
        stats.chisquare(counts.numpy(), (expected / expected.sum() * 40_000).numpy()).pvalue > ALPHA
    )


def test_event_sums_over_its_dimensions():
    """Fault: a mean over pixels in place of a sum."""
    law = DiscretizedLogistic(torch.rand(2, 3, 4), torch.full((2, 3, 4), -1.0), event_dims=2)
    x = torch.rand(2, 3, 4)
    single = DiscretizedLogistic(law.loc.reshape(-1, 1), law.log_scale.reshape(-1, 1))
    expected = single.log_prob(x.reshape(-1, 1)).reshape(2, 12).sum(1)
    torch.testing.assert_close(law.log_prob(x), expected)
    assert law.event_shape == (3, 4)


# --- mixtures


def mixture(channels, levels, components=3, *, links=True):
    count = channels * (channels - 1) // 2
    return DiscretizedLogisticMixture(
        torch.randn(components, 1, 1),
        torch.rand(components, channels, 1, 1),
        -2 + torch.rand(components, channels, 1, 1),
        (2 * torch.rand(components, count, 1, 1) - 1) if links and count else None,
        levels=levels,
    )


def every_pixel(channels, levels):
    """All pixels that there are, ``(levels ** channels, channels, 1, 1)``."""
    grid = torch.meshgrid(*[all_levels(levels)] * channels, indexing="ij")
    return torch.stack(grid, -1).reshape(-1, channels, 1, 1)


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (2, 16), (3, 8)])
def test_mixture_masses_sum_to_one(channels, levels):
    """Fault: a mixture over channels apart, links that look at later channels, unnormalised
    weights.
    """
    law = mixture(channels, levels)
    x = every_pixel(channels, levels)
    wide = law.expand((len(x),))
    assert float(wide.log_prob(x).double().exp().sum()) == pytest.approx(1.0, abs=2e-5)


def test_mixture_by_hand():
    """Fault: another order of the links than (1<-0), (2<-0), (2<-1); a component of its own for
    each channel.
    """
    levels = 16
    law = mixture(3, levels, components=4)
    x = every_pixel(3, levels)[1234]
    r, g, _ = x.flatten()
    total = torch.zeros(())
    for k in range(4):
        loc, links = law.loc[k].flatten().clone(), law.links[k].flatten()
        loc[1] += links[0] * (r - 0.5)
        loc[2] += links[1] * (r - 0.5) + links[2] * (g - 0.5)
        part = DiscretizedLogistic(loc, law.log_scale[k].flatten(), levels=levels).log_prob(
            x.flatten()
        )
        total = total + law.logits.flatten().softmax(0)[k] * part.exp()
    torch.testing.assert_close(law.log_prob(x), total.log())


def test_mixture_of_one_component_is_the_single_law():
    """Fault: a scale or location that the mixture treats differently."""
    law = mixture(1, 256, components=1)
    single = DiscretizedLogistic(law.loc.flatten(), law.log_scale.flatten())
    x = torch.rand(30)
    ours = law.expand((30,)).log_prob(x.reshape(30, 1, 1, 1))
    torch.testing.assert_close(ours, single.log_prob(x[:, None]))


def test_mixture_looks_at_bins_only():
    """Fault: links through the value inside its bin, which make the law depend on more than the
    level.
    """
    law, x = mixture(3, 4), every_pixel(3, 4)[37]
    moved = x + 0.1 * torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1)
    torch.testing.assert_close(law.log_prob(moved), law.log_prob(x), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_mixture_draws_follow_the_masses(channels):
    """Fault: draws whose later channels do not see the earlier ones, or that choose components
    unevenly.
    """
    levels = 3
    law = mixture(channels, levels)
    x = law.sample((30_000,))
    index = ((x * levels).floor().long().flatten(1) * levels ** torch.arange(channels).flip(0)).sum(
        1
    )
    cells = every_pixel(channels, levels)
    expected = law.expand((len(cells),)).log_prob(cells).double().exp()
    counts = index.bincount(minlength=len(cells)).double()
    rare = (
        expected * 30_000 < 10
    )  # chi-square wants ten expected in a cell; the rare ones are put together
    observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
    wanted = torch.cat([expected[~rare], expected[rare].sum()[None]]) * 30_000
    kept = wanted > 0
    law_of_counts = stats.chisquare(
        observed[kept].numpy(), (wanted * 30_000 / wanted.sum())[kept].numpy()
    )
    assert law_of_counts.pvalue > ALPHA


def test_mixture_mean_follows_the_links():
    """Fault: a picture that forgets weights or links. One component: the location of each channel
    given the means.
    """
    law = mixture(3, 256, components=1)
    loc, links = 0.25 + 0.5 * law.loc, 0.2 * law.links
    law = DiscretizedLogisticMixture(law.logits, loc, law.log_scale, links)
    r, g, b = loc.flatten()
    g = g + links.flatten()[0] * (r - 0.5)
    b = b + links.flatten()[1] * (r - 0.5) + links.flatten()[2] * (g - 0.5)
    torch.testing.assert_close(law.mean.flatten(), torch.stack([r, g, b]))
    two = DiscretizedLogisticMixture(
        torch.tensor([0.2, 0.8]).log().reshape(2, 1, 1),
        torch.tensor([0.1, 0.6]).reshape(2, 1, 1, 1),
        torch.zeros(2, 1, 1, 1),
    )
    assert float(two.mean) == pytest.approx(0.5)


def test_mixture_counts_its_links():
    """Fault: coefficients that are silently ignored."""
    with pytest.raises(ValueError, match="expected 3 `links` for 3 channels; got 2"):
        DiscretizedLogisticMixture(
            torch.zeros(2, 1, 1),
            torch.zeros(2, 3, 1, 1),
            torch.zeros(2, 3, 1, 1),
            torch.zeros(2, 2, 1, 1),
        )
