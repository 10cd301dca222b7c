"""The laws of priors, alone and inside models."""

import pytest
import torch
from members import LATENT, PRIORS, SHAPE, encoder, hvae, images, vae
from torch.distributions import Distribution

from priorwise.priors import StandardNormal, as_prior
from priorwise.testing import check_model, check_prior


@pytest.mark.parametrize("name", PRIORS)
def test_laws(name):
    check_prior(PRIORS[name](), encoder())


@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "top of an HVAE"])
@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_fits_every_model(name, build):
    """Fault: a prior that needs something that only one model gives it, or that does not expand to
    (S, B).
    """
    check_model(build(PRIORS[name]()), images())


@pytest.mark.parametrize("flow", ["MAF", "NSF"])
def test_any_zuko_flow_is_a_prior(zuko, flow):
    """Fault: a wrapper that passes arguments to the flow, or loses its parameters."""
    build = getattr(zuko.flows, flow)
    check_prior(build(LATENT, transforms=2, hidden_features=(8,)))
    check_model(vae(build(LATENT, transforms=1, hidden_features=(8,))), images())


def test_zuko_is_contained(request):
    """Fault: the fixture lets zuko's process-wide switch reach the other tests."""
    before = Distribution._validate_args
    request.getfixturevalue("zuko")
    assert Distribution._validate_args in (before, False)


def test_latents_may_have_any_shape():
    """Fault: an event dimension that is taken for a batch dimension."""
    check_prior(StandardNormal((2, 3, 2)))
    assert StandardNormal((2, 3, 2))().event_shape == (2, 3, 2)


def test_as_prior_keeps_ours_and_wraps_others():
    """Fault: a wrapper around our own prior, which would then never see the encoder."""
    ours = StandardNormal(2)
    assert as_prior(ours) is ours
    wrapped = as_prior(PRIORS["WrappedPrior"]().module)
    assert [name for name, _ in wrapped.named_parameters()] == ["module.loc", "module.log_scale"]


@pytest.mark.parametrize("name", [name for name in PRIORS if "Vamp" not in name])
def test_priors_do_not_touch_the_encoder(name):
    """Fault: a prior that calls the encoder although it is not made of encodings."""

    def refuse(x: torch.Tensor) -> Distribution:
        raise AssertionError("the encoder was called")

    PRIORS[name]()(refuse)


def test_vamp_prior_encodes_its_pseudo_inputs_once_for_each_step():
    """Fault: a prior that encodes for each use, or keeps old encodings while training."""
    prior, inner, seen = PRIORS["VampPrior"](), encoder(), []

    def counted(x: torch.Tensor) -> Distribution:
        seen.append(tuple(x.shape))
        return inner(x)

    prior(counted)
    prior(counted)
    assert seen == [(4, *SHAPE)] * 2
