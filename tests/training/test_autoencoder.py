"""Deterministic autoencoders in the loop: nothing asks for a density that they do not have."""

import pytest
import torch
from autoencoder import autoencoder
from toys import splits

from priorwise import fit
from priorwise.objectives import ELBO, BetaVAE, InfoVAE
from priorwise.priors import FlowPrior

OBJECTIVES = {
    "ELBO": lambda model: ELBO(model, beta=0.0),
    "BetaVAE": lambda model: BetaVAE(model, beta=0.0),
    "InfoVAE": lambda model: InfoVAE(model, alpha=1.0, lambda_=10.0),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_autoencoders_train(name, tmp_path):
    """Fault: a validation, a line of metrics or a default that asks for a rate; a prior that moves
    without one.
    """
    torch.manual_seed(0)
    model = autoencoder(FlowPrior(2, blocks=2, hidden_features=(4,)))
    before = {key: tensor.clone() for key, tensor in model.prior.state_dict().items()}
    options = {"epochs": 20, "batch_size": 20, "lr": 0.02, "progress": False, "out": tmp_path}
    result = fit(model, splits(), OBJECTIVES[name](model), **options)
    terms = {"distortion", "mmd"} if name == "InfoVAE" else {"distortion"}
    assert result.history[0]["train"].keys() == terms
    assert result.metric == ("distortion" if name == "ELBO" else "loss")
    values = [line["validation"][result.metric] for line in result.history]
    assert values[-1] < values[0] - 0.5
    moved = any(
        not torch.equal(tensor, before[key]) for key, tensor in model.prior.state_dict().items()
    )
    assert moved == (name == "InfoVAE")


def test_the_default_refuses_in_words():
    """Fault: a rate of zero, or a number made up, for an encoder without a density."""
    with pytest.raises(
        ValueError, match=r"a Delta \(deterministic encoder or decoder\) has no density"
    ):
        fit(autoencoder(), splits(), epochs=1, progress=False)
