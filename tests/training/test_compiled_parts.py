"""Parts that the user compiled: the same fit, the same names on the disk, and words for the rest.

The backend "eager" traces and translates nothing, so numbers are the same to the last bit.
"""

import copy
from collections.abc import Iterator

import pytest
import torch
from kills import KilledError, Writes, assert_same_run, same_bits
from torch import nn
from toys import OPTIONS, checks_off, splits, with_batch_norm, wrong

from priorwise import NCP, VAE, fit, priors, wrap
from priorwise.estimators import log_norm, nll
from priorwise.training.checkpoint import load_model, model_tensors

# The compiler looks at the gradients of tensors that have none, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:The .grad attribute")


def compiled(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


@pytest.fixture(autouse=True)
def traces() -> Iterator[None]:
    """No checks of types inside a trace, which is thrown away after each test."""
    torch._dynamo.reset()
    with checks_off():
        yield
    torch._dynamo.reset()


def with_compiled_parts(model: VAE) -> VAE:
    model.encoder, model.decoder = compiled(model.encoder), compiled(model.decoder)
    return model


def test_compiled_parts_train_and_resume_as_plain_ones(tmp_path):
    """Fault: names with `_orig_mod.`, so that a run goes on only with what is compiled; statistics
    or modes that do not reach the network inside.

    The run is killed after it was compiled, and goes on without.
    """
    torch.manual_seed(0)
    plain = with_batch_norm()
    parts = with_compiled_parts(copy.deepcopy(plain))
    rest = copy.deepcopy(plain)
    options = OPTIONS | {"ema": 0.5, "checkpoint_seconds": 1e-9}
    fit(plain, splits(), out=tmp_path / "plain", **options)
    with pytest.MonkeyPatch.context() as patch:
        Writes(patch, 7)
        with pytest.raises(KilledError):
            fit(parts, splits(), out=tmp_path / "run", **options)
    fit(rest, splits(), out=tmp_path / "run", **options)
    assert_same_run(tmp_path / "plain", tmp_path / "run")
    fit(parts, splits(), out=tmp_path / "run", **options)
    for mine, expected in zip(parts.parameters(), plain.parameters(), strict=True):
        assert same_bits(mine, expected)


def test_estimates_belong_to_both(tmp_path):
    """Fault: a log Z that is forgotten, since a hash has other names in it."""
    base = wrong()
    ncp = NCP(base, hidden_features=(4,))
    log_norm(ncp, samples=50, seed=0)
    parts = copy.deepcopy(ncp)
    parts.base.encoder = compiled(parts.base.encoder)
    load_model(parts, model_tensors(ncp), tmp_path)
    assert parts.known_log_norm() == ncp.known_log_norm()
    x = splits().test[:3]
    assert nll(parts, x, samples=10, seed=0).value == nll(ncp, x, samples=10, seed=0).value


def test_compiled_functions_are_wrapped():
    """Fault: a network behind a compiled function that is not found, trained or saved."""
    encoder, decoder = nn.Linear(3, 4), nn.Linear(2, 3)
    encode = torch.compile(lambda x: encoder(x).chunk(2, -1), backend="eager")
    model = wrap(encode=encode, decode=compiled(decoder), latent=2)
    assert {id(each) for each in model.parameters()} == {
        id(each) for part in (encoder, decoder) for each in part.parameters()
    }
    assert set(model_tensors(model)) >= {"model/_decode.weight", "model/_decode.bias"}
    assert model.sample(2, seed=0).shape == (2, 3)


def test_a_compiled_whole_is_refused_with_advice():
    """Fault: words that tell the owner of a VAE to write one."""
    words = r"Compile the networks inside it, .* compile=True"
    for attempt in (
        lambda: fit(compiled(wrong()), splits()),
        lambda: NCP(compiled(wrong())),
        lambda: VAE(nn.Identity(), nn.Identity(), compiled(priors.StandardNormal(2))),
    ):
        with pytest.raises(TypeError, match=words):
            attempt()
