"""The training loop on models that train in a second."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from toys import Hooked, marks, splits, with_batch_norm, wrong

from priorwise import NCP, fit
from priorwise.estimators import held_out_bce, log_norm
from priorwise.objectives import ELBO, IWAE, NCE, Terms
from priorwise.schedules import cosine, warmup
from priorwise.testing import LinearGaussianVAE
from priorwise.training import TrainingConfig, TrainingDivergedError
from priorwise.training.optimizer import build_optimizer, normalize_gradients_
from priorwise.training.stage import judged, objective_for

QUICK = {"epochs": 4, "batch_size": 20, "warmup_epochs": 0, "progress": False}


def validation_loss(model: nn.Module) -> float:
    value = judged(ELBO(model), splits().evaluation("validation"), QUICK["batch_size"])
    assert value is not None
    return value


def test_loss_falls_and_the_best_weights_come_back():
    """Fault: the last weights instead of the best; an optimiser that does not see the encoder."""
    model = wrong()
    before = validation_loss(model)
    result = fit(
        model, splits(), epochs=30, batch_size=20, warmup_epochs=0, lr=0.05, progress=False
    )
    values = [line["validation"]["negative_elbo"] for line in result.history]
    assert result.model is model
    assert result.best == min(values) < before - 1
    assert result.best_epoch == values.index(min(values)) + 1
    assert validation_loss(model) == result.best
    assert result.metric == "negative_elbo"
    assert (result.epochs, result.stopped, len(values)) == (30, "epochs", 30)


def test_best_weights_survive_a_bad_end():
    """Fault: best weights that are references to the live ones, and so the last ones."""

    def ruin(terms: Terms, step: int) -> Terms:
        weight = 1.0 if step < 6 else -1.0
        return Terms({name: weight * term for name, term in terms.per_example.items()})

    model = wrong()
    result = fit(
        model, splits(), Hooked(ELBO(model), ruin), **QUICK | {"lr": 0.05, "schedule": "constant"}
    )
    assert result.best_epoch == 2
    assert validation_loss(model) == result.best < result.history[-1]["validation"]["negative_elbo"]


def test_warmup_is_a_staircase_of_epochs():
    """Fault: a ramp by steps, or one that starts at 0; the paper's beta is epoch / 4 here, from
    epoch 1.
    """
    model = wrong()
    objective = objective_for(model, None, TrainingConfig(warmup_epochs=4, batch_size=20), 60)
    betas = [objective(torch.zeros(2, 3), step).weights["rate_1"] for step in range(15)]
    assert betas == [0.25] * 3 + [0.5] * 3 + [0.75] * 3 + [1.0] * 6
    without = objective_for(model, None, TrainingConfig(warmup_epochs=0), 3)
    assert without(torch.zeros(2, 3), 0).weights == {"rate_1": 1.0}
    assert warmup(1, 100) == 0.01


def test_default_objective_is_the_warmed_up_elbo():
    """Fault: a warm-up that is configured but not connected."""
    plain, explicit, without = wrong(), wrong(), wrong()
    options = QUICK | {"warmup_epochs": 4}
    fit(plain, splits(), **options)
    fit(
        explicit,
        splits(),
        ELBO(explicit, beta=lambda step: min(1.0, (step // 3 + 1) / 4)),
        **options,
    )
    fit(without, splits(), **QUICK)
    weight = plain.encoder.weight
    assert torch.equal(weight, explicit.encoder.weight)
    assert not torch.equal(weight, without.encoder.weight)


@pytest.mark.parametrize(
    ("warmup_epochs", "patience", "epochs"), [(0, 3, 4), (5, 3, 7), (0, 1, 2), (3, None, 9)]
)
def test_early_stopping(warmup_epochs, patience, epochs):
    """Fault: patience counted during the warm-up, or one off.
    Nothing improves after epoch 1 here.
    """
    options = {"lr": 1e-30, "batch_size": 60, "epochs": 9, "progress": False}
    result = fit(wrong(), splits(), warmup_epochs=warmup_epochs, patience=patience, **options)
    assert result.epochs == len(result.history) == epochs
    assert result.best_epoch == 1
    assert result.stopped == ("epochs" if patience is None else "patience")


def test_learning_rate_follows_the_cosine():
    """Fault: a schedule over epochs, or one that is off by a step. A loss of slope one moves Adam
    by exactly lr.
    """
    assert [cosine(step, 4) for step in (0, 2, 4, 9)] == pytest.approx([1, 0.5, 0, 0])
    model = wrong()
    seen = []

    def straight(terms: Terms, step: int) -> Terms:
        seen.append(float(model.decoder.log_scale.detach()))
        return Terms({"slope": -model.decoder.log_scale.expand(2)})

    fit(model, splits(), Hooked(ELBO(model), straight), **QUICK | {"lr": 0.01})
    moves = [after - before for before, after in pairwise(seen)]
    assert moves == pytest.approx([0.01 * cosine(step, 12) for step in range(11)], rel=1e-3)


# -- trouble ---------------------------------------------------------------------------------------


def poison(at: int, term: str) -> Hooked:
    model = wrong()

    def change(terms: Terms, step: int) -> Terms:
        if step != at:
            return terms
        poisoned = terms.per_example[term].clone()
        poisoned[-1] = math.nan
        return Terms(terms.per_example | {term: poisoned}, weights=terms.weights)

    return Hooked(ELBO(model), change)


@pytest.mark.parametrize("term", ["distortion", "rate_1"])
def test_nan_stops_with_its_place(tmp_path, term):
    """Fault: a NaN that is trained on, or an error that does not say where and what is left."""
    objective = poison(7, term)
    out = tmp_path / "run"
    words = (
        rf"not finite at step 7 \(epoch 3\), in the term {term}\. "
        rf".*{out}/best\.safetensors \(epoch \d\)"
    )
    with pytest.raises(TrainingDivergedError, match=words):
        fit(objective.inner.model, splits(), objective, out=out, **QUICK)
    assert (out / "best.safetensors").exists()
    assert all(bool(parameter.isfinite().all()) for parameter in objective.parameters())


def test_nan_before_the_first_checkpoint():
    objective = poison(0, "rate_1")
    with pytest.raises(TrainingDivergedError, match=r"step 0 .*none was written yet"):
        fit(objective.inner.model, splits(), objective, **QUICK)


class BrokenInEvaluation(LinearGaussianVAE):
    def likelihood(self, groups: list) -> torch.distributions.Distribution:
        observed = super().likelihood(groups)
        if not self.training:
            observed.base_dist.loc = observed.base_dist.loc * math.nan
        return observed


def test_nan_in_validation_stops_too():
    """Fault: NaN compared with the best, which is False, and so never noticed."""
    with pytest.raises(
        TrainingDivergedError,
        match=r"validation negative_elbo .* step 3 \(epoch 1\).*none was written",
    ):
        fit(BrokenInEvaluation(2, 3), splits(), **QUICK)


@pytest.mark.parametrize("broken", [False, True])
def test_objects_come_back_as_they_were(broken):
    """Fault: a model left in training mode, wrapped, with gradients or without its flags; also
    after an error.
    """
    model = with_batch_norm()
    model.encoder.register_forward_hook(lambda module, given, result: None)
    before, state = marks(model), torch.get_rng_state()
    objective = poison(7, "rate_1")
    objective.inner = ELBO(model)
    if broken:
        with pytest.raises(TrainingDivergedError):
            fit(model, splits(), objective, **QUICK)
    else:
        fit(model, splits(), **QUICK)
    assert marks(model) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_without_gradients_stay():
    """Fault: an optimiser that takes what the user froze."""
    model = with_batch_norm()
    before = copy.deepcopy(model.state_dict())
    fit(model, splits(), **QUICK)
    assert torch.equal(model.decoder.body[0].bias, before["decoder.body.0.bias"])
    assert not torch.equal(model.decoder.body[0].weight, before["decoder.body.0.weight"])


def test_what_cannot_be_fitted_is_refused():
    """Fault: an error from deep inside, or from after the folder was made."""
    for other in (nn.Identity(), nn.Linear(3, 3), ELBO(wrong())):
        with pytest.raises(
            TypeError, match=rf"expected a model of priorwise to fit; got {type(other).__name__}"
        ):
            fit(other, splits(), **QUICK)
    with pytest.raises(ValueError, match="at least one parameter to train"):
        fit(wrong().requires_grad_(False), splits(), **QUICK)


def test_objective_of_another_model_is_refused():
    """Fault: training another model than the one that is validated and saved."""
    for objective in (ELBO(wrong()), IWAE(wrong()), NCE(NCP(wrong()))):
        with pytest.raises(TypeError, match="holds another one"):
            fit(wrong(), splits(), objective, **QUICK)
    with pytest.raises(TypeError, match="holds another one"):
        fit(NCP(wrong()), splits(), NCE(NCP(wrong())), **QUICK)


def test_unknown_option_is_refused():
    with pytest.raises(
        TypeError, match=r"unknown option 'epoch' of a fit\. Did you mean 'epochs'\?"
    ):
        fit(wrong(), splits(), epoch=3)
    with pytest.raises(ValueError, match="batch_size"):
        fit(wrong(), splits(), batch_size=0)


# -- options ---------------------------------------------------------------------------------------


def test_gradients_are_normalised_tensor_by_tensor():
    """Fault: one norm for all parameters; a division by zero."""
    parameters = [
        nn.Parameter(torch.zeros(3)),
        nn.Parameter(torch.zeros(2, 2)),
        nn.Parameter(torch.zeros(2)),
    ]
    optimizer = build_optimizer(parameters, 0.1)
    parameters[0].grad = torch.tensor([3.0, 0.0, 4.0])
    parameters[1].grad = torch.zeros(2, 2)
    normalize_gradients_(optimizer)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0, 0.8]))
    assert torch.equal(parameters[1].grad, torch.zeros(2, 2))
    assert parameters[2].grad is None


def test_normalisation_is_an_option():
    """Fault: an option that changes nothing. Adam is blind to a constant factor, not to one that
    changes.
    """
    plain, normalised = wrong(), wrong()
    fit(plain, splits(), **QUICK)
    fit(normalised, splits(), optimizer="adam_normalized", **QUICK)
    assert not torch.equal(plain.encoder.weight, normalised.encoder.weight)


def test_half_precision_runs():
    """Fault: parameters or densities that turn into bfloat16: whole nats."""
    single, half = with_batch_norm(), with_batch_norm()
    half.load_state_dict(single.state_dict())
    expected = fit(single, splits(), **QUICK).best
    best = fit(half, splits(), precision="bf16", **QUICK).best
    assert best == pytest.approx(expected, abs=0.1)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}


def test_same_seed_same_run_another_seed_another():
    """Fault: order or draws from the global stream."""
    runs = [fit(wrong(), splits(), seed=seed, **QUICK).history for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_memory_and_folder_agree(tmp_path):
    """Fault: a fit that depends on whether it is written down, or on how often."""
    kept, written = wrong(), wrong()
    first = fit(kept, splits(), **QUICK)
    second = fit(written, splits(), out=tmp_path / "run", checkpoint_seconds=1e-6, **QUICK)
    assert first.history == second.history
    assert torch.equal(kept.encoder.weight, written.encoder.weight)
    assert (first.folder, second.folder) == (None, tmp_path / "run")


def test_a_batch_may_be_larger_than_the_data():
    result = fit(wrong(), splits(7), batch_size=100, epochs=2, warmup_epochs=0, progress=False)
    assert result.history[-1]["step"] == 2


# -- noise contrastive priors ----------------------------------------------------------------------


def test_ncp_leaves_its_base_alone():
    """Fault: batch statistics that move, flags that stay frozen, a mode that changes."""
    base = with_batch_norm()
    before, told = copy.deepcopy(base.state_dict()), marks(base)
    ncp = NCP(base, hidden_features=(8,))
    first = copy.deepcopy(ncp.classifiers.state_dict())
    log_norm(ncp, samples=100)
    fit(ncp, splits(), **QUICK)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert marks(base) == told
    assert any(
        not torch.equal(tensor, first[name])
        for name, tensor in ncp.classifiers.state_dict().items()
    )
    assert ncp.known_log_norm() is None


def test_ncp_learns_the_ratio():
    """Fault: classes exchanged, or classifiers that see tilted draws. q = N(d, 1) in two
    dimensions, p = N(0, 1).

    The cross-entropy can fall from 1.386 to that of the true ratio, known from the same held-out
    draws.
    """
    base = LinearGaussianVAE(2, 3, shift=2.0)
    x = LinearGaussianVAE(2, 3).marginal().sample((3000,)).float()
    ncp = NCP(base, hidden_features=(32,))
    result = fit(ncp, x, epochs=15, lr=5e-3, batch_size=200, progress=False)
    best = NCP(base, [TrueRatio(base)])
    held_out = LinearGaussianVAE(2, 3).marginal().sample((1500,)).float()
    floor = held_out_bce(best, held_out).value
    assert result.metric == "held_out_bce"
    assert held_out_bce(ncp, held_out).value == pytest.approx(floor, abs=0.05)
    assert floor < 2 * math.log(2) - 0.1


class TrueRatio(nn.Module):
    """The log ratio of N(d, I) and N(0, I)."""

    def __init__(self, base: LinearGaussianVAE) -> None:
        super().__init__()
        d = 2.0 * base.exact_posterior(torch.zeros(1, 3)).base_dist.scale[0].detach()
        self.d = nn.Parameter(d)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return (z * self.d).sum(-1) - self.d.square().sum() / 2
