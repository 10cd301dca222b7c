"""Active units of encoders whose posterior means are known."""

import pytest
import torch
from chains import Affine, chain_hvae, chain_marginal

from priorwise import VAE
from priorwise.estimators import active_units
from priorwise.priors import StandardNormal


def model(weight: list[list[float]]) -> VAE:
    rows = torch.tensor(weight)
    return VAE(
        Affine(rows, 0.5),
        Affine(torch.zeros(rows.shape[1], len(rows)), 1.0),
        StandardNormal(len(rows)),
    )


def test_known_units_are_found():
    """Fault: the variance of draws instead of means, which makes every unit active; var / std
    confused with 0.01.
    """
    x = torch.randn(1200, 2)
    (units,) = active_units(model([[1.0, 0.0], [0.0, 0.2], [0.0, 0.05], [0.0, 0.0]]), x)
    means = torch.stack([x[:, 0], 0.2 * x[:, 1], 0.05 * x[:, 1], 0 * x[:, 0]], 1)
    torch.testing.assert_close(units.variance, means.double().var(0), rtol=1e-4, atol=1e-9)
    assert (units.group, units.active, units.dimensions) == (1, 2, 4)


@pytest.mark.parametrize(("threshold", "active"), [(0.001, 3), (0.5, 1), (5.0, 0)])
def test_threshold_is_used(threshold, active):
    (units,) = active_units(
        model([[1.0, 0.0], [0.0, 0.2], [0.0, 0.05]]), torch.randn(1200, 2), threshold=threshold
    )
    assert units.active == active


def test_every_group_is_reported():
    """Fault: the top group's figures for the one below; the noise of its ancestors taken for
    activity.

    The variance of E[z_2 | x] over 2000 images; 40 draws leave a 40th of the ancestors' noise in
    it.
    """
    x = chain_marginal().sample((2000,)).float()
    hvae = chain_hvae()
    top, bottom = active_units(hvae, x, samples=40)
    single = active_units(hvae, x, samples=1)[1]
    assert (top.group, bottom.group) == (1, 2)
    weight = hvae.encoder_bottom.weight.detach()[0]
    above = x @ hvae.encoder_top.weight.detach()[0]
    exact = (x @ weight[:3] + above * weight[3]).double().var()
    noise = float((weight[3] * hvae.encoder_top.scale) ** 2)
    assert float(top.variance) == pytest.approx(float(above.double().var()), rel=1e-4)
    assert float(bottom.variance) == pytest.approx(float(exact) + noise / 40, rel=0.05)
    assert float(single.variance) == pytest.approx(float(exact) + noise, rel=0.15)


def test_one_observation_has_no_variance():
    with pytest.raises(ValueError, match="at least 2 observations; got 1"):
        active_units(model([[1.0, 0.0]]), torch.randn(1, 2))
