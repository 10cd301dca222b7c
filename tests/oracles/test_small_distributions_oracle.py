"""Bernoulli pixels, point masses, tilted distributions, rows and noise forms."""

import pytest
import torch
from members import gaussian
from scipy import stats
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)
from torch.nn import functional as F

from priorwise.distributions import (
    Delta,
    DiagonalGaussianMixture,
    IndependentBernoulli,
    Tilted,
    UnflattenedRows,
    diagonal_gaussian,
    from_noise,
    has_noise_form,
    log_unnorm,
    normal_within,
    require_diagonal_gaussian,
)
from priorwise.testing import ALPHA, GaussianTilt, check_mean


@pytest.mark.parametrize(("batch", "event"), [((), (3,)), ((4,), (2, 3))])
def test_a_diagonal_gaussian_is_known_as_one(batch, event):
    """Fault: the dimensions of the event summed too few; another law taken for a Gaussian."""
    loc, scale, z = torch.randn(*batch, *event), torch.rand(event) + 0.1, torch.randn(batch + event)
    law = diagonal_gaussian(loc, scale, len(event))
    truth = stats.norm(loc, scale.expand_as(loc)).logpdf(z).reshape(*batch, -1).sum(-1)
    torch.testing.assert_close(law.log_prob(z).double(), torch.as_tensor(truth), rtol=1e-5, atol=0)
    normal = require_diagonal_gaussian(law.expand((5, *batch)), "a Gaussian", "")
    torch.testing.assert_close(normal.loc, loc.expand(5, *batch, *event))
    torch.testing.assert_close(normal.scale, scale.expand(5, *batch, *event))


@pytest.mark.parametrize(
    "other",
    [
        Normal(torch.zeros(3), 1.0),
        Independent(Bernoulli(logits=torch.zeros(3)), 1),
        Independent(Independent(Normal(torch.zeros(2, 3), 1.0), 1), 1),
        Tilted(diagonal_gaussian(torch.zeros(3), torch.ones(3)), lambda z: z.sum(-1)),
        None,
    ],
    ids=lambda other: type(other).__name__,
)
def test_what_is_no_diagonal_gaussian_is_refused(other):
    """Fault: a law whose base happens to have means and scales, such as a tilted Gaussian."""
    assert normal_within(other) is None
    kind = type(other).__name__
    with pytest.raises(TypeError, match=f"expected codes as a Gaussian; got {kind}. Take others."):
        require_diagonal_gaussian(other, "codes as a Gaussian", "Take others.")


@pytest.mark.parametrize("event_dims", [1, 2, 3])
def test_bernoulli_equals_torch(event_dims):
    """Fault: a missing softplus, a sum over too few dimensions."""
    logits = 3 * torch.randn(5, 2, 3, 4)
    x = torch.bernoulli(torch.full_like(logits, 0.3))
    theirs = Independent(Bernoulli(logits=logits), event_dims)
    ours = IndependentBernoulli(logits, event_dims)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)


def test_bernoulli_broadcasts_one_image_against_samples():
    """Fault: x of (B) that is matched with the samples of logits (S, B)."""
    logits, x = torch.randn(5, 3, 4), torch.bernoulli(torch.full((3, 4), 0.5))
    expected = Independent(Bernoulli(logits=logits), 1).log_prob(x.expand(5, 3, 4))
    torch.testing.assert_close(IndependentBernoulli(logits).log_prob(x), expected)


def test_bernoulli_takes_grey_values_and_extreme_logits():
    """Fault: clamped probabilities, or a product 0 * inf."""
    logits, x = torch.tensor([[-200.0, 200.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.3]])
    expected = -F.binary_cross_entropy_with_logits(torch.tensor([0.5]), torch.tensor([0.3]))
    torch.testing.assert_close(IndependentBernoulli(logits).log_prob(x)[0], expected)
    wrong = IndependentBernoulli(logits).log_prob(torch.tensor([[1.0, 0.0, 0.3]]))
    torch.testing.assert_close(wrong[0], expected - 400)


def test_bernoulli_draws():
    """Fault: draws of 1 - p, or of the same image for all."""
    law = IndependentBernoulli(torch.tensor([-1.0, 0.0, 2.0]))
    x = law.sample((20_000,))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    for pixel in range(3):
        check_mean(x[:, pixel], float(law.mean[pixel]), f"pixel {pixel}", comparisons=3)


def test_delta_refuses_a_density():
    """Fault: an infinite or zero density that a bound would add up."""
    point = Delta(torch.tensor([[1.0, 2.0]]))
    assert point.sample((3,)).tolist() == [[[1.0, 2.0]]] * 3
    assert point.variance.tolist() == [[0.0, 0.0]]
    with pytest.raises(
        ValueError, match=r"a Delta .* has no density, so ELBO and likelihood are undefined"
    ):
        point.log_prob(point.mean)


def test_tilted_density():
    """Fault: log Z added in place of subtracted, or a tilt that is left out."""
    truth = GaussianTilt(slope=0.7, curvature=0.4, features=2)
    z = torch.randn(30, 2)
    tilted = truth.tilted(normalised=True)
    torch.testing.assert_close(tilted.log_prob(z), truth.target.log_prob(z))
    torch.testing.assert_close(log_unnorm(tilted, z), tilted.log_prob(z))
    unknown = truth.tilted()
    torch.testing.assert_close(unknown.log_unnorm(z), truth.target.log_prob(z) + truth.log_norm)
    torch.testing.assert_close(log_unnorm(unknown, z), unknown.log_unnorm(z))
    torch.testing.assert_close(log_unnorm(truth.target, z), truth.target.log_prob(z))


def test_tilted_keeps_what_it_knows_when_it_expands():
    """Fault: an expansion that forgets log Z or the bound."""
    tilted = GaussianTilt(curvature=1.0).tilted(normalised=True).expand((3,))
    assert (tilted.log_norm, tilted.log_bound) == (GaussianTilt(curvature=1.0).log_norm, 0.5)
    assert tilted.log_prob(torch.zeros(5, 3, 1)).shape == (5, 3)


def test_tilted_refuses_in_words():
    """Fault: an unnormalised density that passes for a likelihood; draws from the base that pass
    for draws.
    """
    tilted = GaussianTilt().tilted()
    with pytest.raises(
        ValueError, match=r"expected a `log_norm` for a normalised density; got None.*log_unnorm"
    ):
        tilted.log_prob(torch.zeros(1))
    for draw in (tilted.sample, tilted.rsample):
        with pytest.raises(
            ValueError, match=r"does not sample by itself.*SIR, Rejection .* or Langevin"
        ):
            draw((3,))


def test_rows_are_seen_with_their_batch_shape():
    """Fault: samples and batch swapped when rows are unflattened."""
    flat = gaussian(6)
    rows = UnflattenedRows(flat, (2, 3))
    z = torch.randn(2, 3, 2)
    torch.testing.assert_close(rows.log_prob(z), flat.log_prob(z.reshape(6, 2)).reshape(2, 3))
    torch.testing.assert_close(rows.mean, flat.mean.reshape(2, 3, 2))
    one = torch.randn(3, 2)
    torch.testing.assert_close(rows.log_prob(one), rows.log_prob(one.expand(2, 3, 2)))
    torch.manual_seed(0)
    drawn = rows.sample((4,))
    torch.manual_seed(0)
    torch.testing.assert_close(drawn, flat.sample((4,)).reshape(4, 2, 3, 2))


def test_rows_take_draws_of_many():
    """Fault: a density that refuses its own draws."""
    rows = UnflattenedRows(gaussian(6), (2, 3))
    z = rows.sample((4,))
    expected = torch.stack([rows.log_prob(part) for part in z])
    torch.testing.assert_close(rows.log_prob(z), expected)


# --- z = T(eps)


def bent():
    transforms = [
        AffineTransform(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.5])),
        TanhTransform(),
    ]
    return TransformedDistribution(Normal(torch.zeros(2), torch.ones(2)), transforms)


@pytest.mark.parametrize("build", [gaussian, bent, lambda: Independent(bent(), 1)])
def test_noise_form_is_the_change_of_variables(build):
    """Fault: a variance for a scale, transforms in the wrong order. log p(T(eps)) = log N(eps) -
    log |dT / d eps|.
    """
    law = build()
    assert has_noise_form(law)
    eps = torch.randn(20, 2).requires_grad_()
    z = from_noise(law, eps)
    (slope,) = torch.autograd.grad(z.sum(), eps)  # T acts on each coordinate here
    expected = (Normal(0.0, 1.0).log_prob(eps) - slope.abs().log()).sum(-1)
    density = law.log_prob(z)
    torch.testing.assert_close(
        density if density.dim() == 1 else density.sum(-1), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("flow", ["MAF", "NSF"])
def test_noise_form_of_a_zuko_flow(zuko, flow):
    """Fault: the inverse of the map in place of the map."""
    law = getattr(zuko.flows, flow)(2, transforms=2, hidden_features=(8,))()
    assert has_noise_form(law)
    eps = torch.randn(10, 2)
    z = from_noise(law, eps)
    torch.testing.assert_close(law.transform(z), eps, rtol=1e-3, atol=1e-3)
    jacobian = (
        torch.func.vmap(torch.func.jacrev(lambda e: from_noise(law, e)))(eps)
        if flow == "NSF"
        else None
    )
    if jacobian is not None:
        expected = Normal(0.0, 1.0).log_prob(eps).sum(-1) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(law.log_prob(z), expected, rtol=1e-3, atol=1e-3)


def test_no_noise_form_is_said_in_words():
    """Fault: a chain that moves in noise of a distribution that is no image of noise."""
    mixture = DiagonalGaussianMixture(torch.zeros(2, 1), torch.ones(2, 1))
    assert not has_noise_form(mixture)
    assert not has_noise_form(GaussianTilt().tilted())
    with pytest.raises(
        TypeError,
        match="expected a Gaussian or a flow over a Gaussian; got DiagonalGaussianMixture",
    ):
        from_noise(mixture, torch.zeros(1))


def test_noise_form_draws_follow_the_law():
    """Fault: noise of another variance. Kolmogorov-Smirnov beside the density above."""
    law = gaussian(event=(1,))
    z = from_noise(law, torch.randn(20_000, 1))[:, 0]
    cdf = stats.norm(float(law.mean), float(law.stddev)).cdf
    assert stats.kstest(z.numpy(), cdf).pvalue > ALPHA


def test_a_tilt_sees_the_shape_of_the_draws():
    """Fault: a tilt that is called on flattened rows."""
    seen = []
    tilted = Tilted(gaussian(3), lambda z: seen.append(tuple(z.shape)) or z.sum(-1))
    assert tilted.log_unnorm(torch.zeros(4, 3, 2)).shape == (4, 3)
    assert seen == [(4, 3, 2)]
