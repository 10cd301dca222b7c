"""A VAE from anywhere: every form that its encoder and decoder may take."""

import math

import pytest
import torch
from members import images
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from priorwise.distributions import Delta
from priorwise.models import wrap
from priorwise.objectives import ELBO
from priorwise.priors import GaussianMixture, VampPrior
from priorwise.testing import LinearGaussianVAE, check_mean, check_model

ORACLE = LinearGaussianVAE(2, 4)


def as_pair(x: Tensor) -> tuple[Tensor, Tensor]:
    posterior = ORACLE.encoder(x)
    return posterior.mean, 2 * posterior.stddev.log()


def not_yet_independent(x: Tensor) -> Distribution:
    return ORACLE.encoder(x).base_dist


@pytest.mark.parametrize("encode", [ORACLE.encoder, as_pair, not_yet_independent], ids=["law", "pair", "normal"])
def test_encoders_that_mean_the_same(encode):
    """Fault: a log-variance taken for a log standard deviation, batch dimensions where events should be.

    The wrapped oracle's bound is its likelihood, at every draw.
    """
    model = wrap(encode=encode, decode=ORACLE.decoder, latent=2)
    x = ORACLE.sample(5, mean=False, seed=0)
    (group,) = model.infer(x, (3,))
    assert (group.posterior.batch_shape, group.posterior.event_shape) == ((3, 5), (2,))
    bound = model.log_joint([group], x) - group.posterior.log_prob(group.z)
    torch.testing.assert_close(bound.double(), ORACLE.log_px(x).expand(3, 5), rtol=1e-4, atol=1e-4)


def test_means_become_a_likelihood():
    """Fault: samples and batch mixed up on the way through the rows."""
    scale = float(ORACLE.decoder.log_scale.detach().exp())
    model = wrap(
        encode=ORACLE.encoder,
        decode=lambda z: ORACLE.decoder(z).mean,
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, scale), 1),
    )
    x = ORACLE.sample(5, mean=False, seed=0)
    groups = model.infer(x, (3,))
    torch.testing.assert_close(model.log_joint(groups, x), ORACLE.log_joint(groups, x), rtol=1e-4, atol=1e-4)


def test_a_decoder_that_takes_rows_of_images():
    """Fault: (S, B) latents handed to a convolution; rows that come back in another order."""
    network = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (2, 3, 2)), nn.ConvTranspose2d(2, 1, 1))
    model = wrap(
        encode=nn.Sequential(nn.Flatten(), nn.Linear(6, 2)),
        decode=lambda z: Independent(Bernoulli(logits=network(z)), 3),
        latent=2,
    )
    x = images(4)
    assert model.infer(x)[0].posterior.event_shape == (2,)
    z = torch.randn(5, 4, 2)
    (group,) = model.top_down(lambda group: z, (5, 4), x)
    observed = model.likelihood([group])
    assert (observed.batch_shape, observed.event_shape) == ((5, 4), (1, 3, 2))
    for s in range(5):
        expected = Independent(Bernoulli(logits=network(z[s])), 3).log_prob(x)
        torch.testing.assert_close(observed.log_prob(x)[s], expected)


@pytest.mark.parametrize("latent", [(2, 3), (2, 3, 2)])
def test_latents_of_any_shape(latent):
    """Fault: a prior over the last dimension only."""
    size = math.prod(latent)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2 * size)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_var = self.linear(x).chunk(2, -1)
            return loc.unflatten(-1, latent), log_var.unflatten(-1, latent)

    model = wrap(
        encode=Encoder(),
        decode=nn.Sequential(nn.Flatten(), nn.Linear(size, 4)),
        latent=latent,
        likelihood=lambda mean: Independent(Normal(mean, 1.0), 1),
    )
    check_model(model, torch.randn(3, 4))
    assert model.prior().event_shape == latent


def test_deterministic_encoders_and_decoders():
    """Fault: a density of a point. Samples and reconstructions work, a bound refuses."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    x = torch.randn(3, 4)
    assert isinstance(model.encode(x), Delta)
    torch.testing.assert_close(model.reconstruct(x), model._decode(model._encode(x)).detach())
    assert model.sample(5, seed=0).shape == (5, 4)
    with pytest.raises(ValueError, match=r"a Delta .* has no density"):
        ELBO(model)(x)


def test_the_default_prior_is_standard_normal():
    """Fault: another prior than the one that the model was trained with."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    z = model.generate(8000)[0].z
    check_mean(z.flatten(), 0.0, "the mean", comparisons=2)
    check_mean(z.flatten().square(), 1.0, "the variance", comparisons=2)
    assert isinstance(wrap(encode=abs, decode=abs, latent=2, prior=GaussianMixture(2, 3)).prior, GaussianMixture)


def test_a_vamp_prior_works_on_a_wrapped_encoder():
    """Fault: pseudo-inputs that see the raw output of `encode`, a pair."""
    model = wrap(encode=as_pair, decode=ORACLE.decoder, latent=2, prior=VampPrior(torch.rand(3, 4)))
    encoded = ORACLE.encoder(model.prior.pseudo_inputs)
    mixture = model.generate(2)[0].prior
    torch.testing.assert_close(mixture.loc, encoded.mean)
    torch.testing.assert_close(mixture.scale, encoded.stddev)


def test_modules_are_registered():
    """Fault: networks that miss `.to(device)`, `.eval()` and the checkpoint."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    assert len(list(model.parameters())) == 4


def distribution_of_pixels(z: Tensor) -> Distribution:
    return Normal(ORACLE.decoder(z).mean, 0.5)


def test_a_decoder_that_forgets_independent_is_taken_as_the_encoder_is():
    """Fault: a decoder that returns Normal(mean, s), of batch shape (rows, 4), and fails deep inside torch."""
    model = wrap(encode=ORACLE.encoder, decode=distribution_of_pixels, latent=2)
    x = ORACLE.sample(5, mean=False, seed=0)
    groups = model.infer(x, (3,))
    expected = Independent(distribution_of_pixels(groups[0].z), 1).log_prob(x)
    torch.testing.assert_close(model.likelihood(groups).log_prob(x), expected)


def test_an_encoder_of_another_size():
    """Fault: an error about shapes far from its cause."""
    model = wrap(encode=nn.Linear(4, 3), decode=nn.Linear(2, 4), latent=2)
    with pytest.raises(ValueError, match=r"to give latents of shape \(2,\), as `latent` says; got \(3,\)"):
        model.infer(torch.randn(3, 4))
