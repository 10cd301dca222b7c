"""The diagnostics of an NCP where the best classifier is known. False alarms: ``ALPHA`` a test."""

import math

import pytest
import torch
from chains import chain_hvae
from torch import Tensor, nn

from priorwise import NCP
from priorwise.estimators import contrast, held_out_bce
from priorwise.testing import LinearGaussianVAE, z_limit

SHIFT = 1.6


class AffineLogit(nn.Module):
    """The logit ``slope * z + offset``."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.slope * z.sum(-1) + self.offset


def perfect() -> tuple[NCP, Tensor, float]:
    """q(z) = N(d, 1) against p = N(0, 1): the log ratio is d z - d^2 / 2."""
    model = LinearGaussianVAE(1, 3, shift=SHIFT)
    d = SHIFT * float(model.exact_posterior(torch.zeros(1, 3)).base_dist.scale)
    return NCP(model, [AffineLogit(d, -(d**2) / 2)]), model.marginal().sample((20_000,)).float(), d


def jensen_shannon(d: float) -> float:
    """The divergence of N(0, 1) and N(d, 1) by quadrature, in nats."""
    z = torch.linspace(-12, 12 + d, 200_001, dtype=torch.float64)
    log_p, log_q = -0.5 * z**2, -0.5 * (z - d) ** 2
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    integrand = (
        0.5
        * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m))
        / math.sqrt(2 * math.pi)
    )
    return float(torch.trapezoid(integrand, z))


def test_perfect_classifier():
    """Fault: classes exchanged, the factor 2 between the two forms, the ratio averaged over
    positives.
    """
    ncp, x, d = perfect()
    (diagnostics,) = contrast(ncp, x, proposals=(2000,), contexts=50)
    assert diagnostics.group == 1
    assert diagnostics.bce_mean == diagnostics.bce / 2
    limit = z_limit(2)
    assert abs(diagnostics.jsd - jensen_shannon(d)) < limit * diagnostics.bce_stderr / 2
    assert abs(diagnostics.calibration - 1) < limit * diagnostics.calibration_stderr
    assert diagnostics.calibration_stderr == pytest.approx(
        math.sqrt((math.exp(d**2) - 1) / 20_000), rel=0.5
    )
    assert diagnostics.ess[2000] == pytest.approx(2000 * math.exp(-(d**2)), rel=0.25)


def test_planted_exchange_is_caught():
    """The comparison above fails when positives and negatives change places."""
    ncp, x, d = perfect()
    with torch.no_grad():
        for parameter in ncp.classifiers.parameters():
            parameter.neg_()
    (diagnostics,) = contrast(ncp, x, proposals=(10,))
    assert abs(diagnostics.jsd - jensen_shannon(d)) > z_limit(2) * diagnostics.bce_stderr / 2
    assert abs(diagnostics.calibration - 1) > z_limit(2) * diagnostics.calibration_stderr


def test_groups_are_reported_in_order():
    """Fault: one group's figures under the other's name. Constant logits give exact ones."""
    ncp = NCP(chain_hvae(), [AffineLogit(0.0, 0.0), AffineLogit(0.0, 1.0)])
    top, bottom = contrast(ncp, torch.randn(30, 3), proposals=(50, 500))
    assert (top.group, bottom.group) == (1, 2)
    assert top.bce == pytest.approx(2 * math.log(2), abs=1e-6)
    assert top.jsd == pytest.approx(0, abs=1e-6)
    assert top.calibration == pytest.approx(1)
    both = math.log1p(math.exp(-1)) + math.log1p(math.exp(1))
    assert bottom.bce == pytest.approx(both, abs=1e-5)
    assert bottom.calibration == pytest.approx(math.e, rel=1e-5)
    for group in (top, bottom):
        assert group.ess == pytest.approx({50: 50, 500: 500}, rel=1e-3)
    estimate = held_out_bce(ncp, torch.randn(30, 3))
    assert estimate.value == pytest.approx(2 * math.log(2) + both, abs=1e-5)
    assert estimate.count == 30


def test_held_out_bce_is_the_sum_of_the_groups():
    """Fault: other draws, or the mean over groups, in what early stopping watches."""
    ncp = NCP(chain_hvae(), [AffineLogit(0.4, 0.0), AffineLogit(-0.3, 0.2)])
    x = torch.randn(700, 3)
    estimate = held_out_bce(ncp, x, seed=5)
    assert estimate.value == pytest.approx(
        sum(group.bce for group in contrast(ncp, x, seed=5)), rel=1e-6
    )
    assert estimate.value != held_out_bce(ncp, x, seed=6).value
    torch.testing.assert_close(
        estimate.per_example[:500], held_out_bce(ncp, x[:500], seed=5).per_example
    )
