"""Frozen means frozen: a fit puts nothing into training mode that it does not train, and leaves
networks alone that somebody else trained.
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from toys import marks, splits, with_batch_norm

import priorwise as pw
from priorwise.distributions import diagonal_gaussian
from priorwise.objectives import BetaVAE
from priorwise.priors import FlowPrior, GaussianMixture
from priorwise.training.modes import set_modes

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 20, "warmup_epochs": 0, "progress": False}


def flow() -> FlowPrior:
    return FlowPrior(2, blocks=2, hidden_features=(8,))


def wrapped(prior: nn.Module | None = None) -> pw.models.WrappedVAE:
    """Batch statistics and dropout on both sides."""
    encoder = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 4))
    decoder = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3))
    return pw.wrap(
        encode=lambda x: tuple(encoder(x).chunk(2, -1)),
        decode=decoder,
        latent=2,
        prior=prior,
        likelihood=lambda mean: diagonal_gaussian(mean, torch.ones_like(mean)),
    )


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """The parts in which a tensor has changed, buffers included."""
    return {
        name.partition(".")[0]
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }


# -- parameters that do not require gradients ------------------------------------------------------


def test_frozen_networks_keep_their_batch_statistics_and_no_dropout_is_live():
    """Fault: `module.train()` of a whole model: running statistics move, dropout is on."""
    torch.manual_seed(0)
    model = with_batch_norm()
    model.prior = flow()
    for part in (model.encoder, model.decoder):
        part.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    told = marks(model)
    live: list[bool] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: live.append(module.training))
        for part in (model.encoder, model.decoder)
        for module in part.modules()
    ]
    result = pw.fit(model, splits(), **QUICK)
    for hook in hooks:
        hook.remove()
    assert not any(live)
    assert moved(model, before) == {"prior"}
    assert marks(model) == told
    prior = sum(p.numel() for p in model.prior.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert result.trained == f"prior: {prior:,} of {total:,} parameters of the model"


def modes(module: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in module.named_modules() if name}


def test_a_module_trains_if_it_holds_something_that_is_trained():
    """Fault: dropout that stops in a trained body, or starts in a frozen one; batch norm with
    frozen weights, or with none, in the wrong mode.
    """
    body = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2), nn.ReLU())
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    both = nn.ModuleDict({"body": body, "plain": plain}).eval()
    body[2].requires_grad_(False)
    set_modes([both], [p for p in both.parameters() if p.requires_grad])
    live = {name for name, training in modes(both).items() if training}
    assert live == {"body", "body.0", "body.1", "body.3", "plain", "plain.0", "plain.1"}
    plain.requires_grad_(False)
    set_modes([both], [p for p in both.parameters() if p.requires_grad])
    live = {name for name, training in modes(both).items() if training}
    assert live == {"body", "body.0", "body.1", "body.3"}


def test_a_trained_prior_is_no_reason_for_dropout_beside_it():
    """Fault: dropout of a frozen flat model that follows the model, which holds a trained prior."""
    flat = nn.Module()
    flat.first, flat.dropout, flat.prior = nn.Linear(2, 2), nn.Dropout(), GaussianMixture(2, 3)
    flat.first.requires_grad_(False)
    set_modes([flat], flat.prior.parameters())
    assert modes(flat) == {"first": False, "dropout": False, "prior": True}
    assert flat.training
    set_modes([flat], [*flat.prior.parameters(), *flat.first.parameters()])
    assert all(modes(flat).values())


# -- somebody's networks ---------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [None, lambda model: BetaVAE(model, beta=2.0)])
def test_a_wrapped_model_has_its_prior_trained_alone(objective):
    """Fault: encoder and decoder of the user retrained without a word, by any objective."""
    torch.manual_seed(0)
    model = wrapped(flow())
    before = copy.deepcopy(model.state_dict())
    given = None if objective is None else objective(model)
    result = pw.fit(model, splits(), given, **QUICK)
    assert moved(model, before) == {"prior"}
    assert result.trained.startswith("prior: ")
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_train_all_trains_the_networks_too_and_is_in_the_identity(tmp_path):
    """Fault: a word that does nothing; a folder that goes on under another."""
    torch.manual_seed(0)
    model = wrapped(flow())
    start = copy.deepcopy(model.state_dict())
    result = pw.fit(model, splits(), train="all", out=tmp_path, **QUICK)
    assert moved(model, start) == {"_owners", "_decode", "prior"}
    assert result.trained.startswith("the wrapped networks, prior: ")
    with pytest.raises(ValueError, match=r"training\.train was 'all', now 'ours'"):
        pw.fit(model, splits(), out=tmp_path, **QUICK)
    with pytest.raises(ValueError, match=r"`train`.*'ours' or 'all'; got 'mine'"):
        pw.fit(model, splits(), train="mine", **QUICK)


def test_nothing_of_ours_to_train_is_refused_with_the_ways_out(tmp_path):
    """Fault: an empty optimiser's message, or a folder that the refusal leaves behind."""
    with pytest.raises(ValueError, match=r"fit_prior.*NCP\(model\).*train=\"all\""):
        pw.fit(wrapped(), splits(), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    model = with_batch_norm()
    before = copy.deepcopy(model.state_dict())
    pw.fit(model, splits(), **QUICK)  # a model of priorwise is ours
    assert moved(model, before) >= {"encoder", "decoder"}
