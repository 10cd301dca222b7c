"""A likelihood whose decoder works in bf16, and one that is compiled: what moves, what is refused.

No test here is statistical: both ways have the same noise.
"""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from members import SHAPE, images, vae
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.distributions import Independent, Normal

from priorwise import NCP, compilation, wrap
from priorwise.compilation import CompilationError
from priorwise.distributions import DiagonalGaussianMixture
from priorwise.estimators import log_norm, nll
from priorwise.likelihoods import Gaussian
from priorwise.models import VAE, AbstractModel, gated_hvae, gated_vae
from priorwise.priors import VampPrior
from priorwise.testing import LinearGaussianVAE

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")


def small(name: str) -> tuple[AbstractModel, Tensor]:
    """A model of each kind with 23 binary images, seed 0."""
    torch.manual_seed(0)
    prior = VampPrior.random(4, SHAPE, mean=0.5, std=0.2)
    model: AbstractModel = {
        "vae": lambda: gated_vae(SHAPE, latent=3, hidden=8),
        "vamp": lambda: gated_vae(SHAPE, prior=prior, latent=3, hidden=8),
        "hvae": lambda: gated_hvae(SHAPE, prior=prior, latent=3, hidden=8),
        "ncp": lambda: NCP(gated_hvae(SHAPE, latent=3, hidden=8), hidden_features=(8,)),
    }[name]()
    if isinstance(model, NCP):
        log_norm(model, samples=1000)
    return model, images(23)


KINDS = ["vae", "vamp", "hvae", "ncp"]


# -- half precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_stated_difference_is_the_difference(name):
    """23 images and 60 draws are few enough that the small part is the whole. Fault: a part with
    another noise, a difference upside down, of other images.
    """
    model, x = small(name)
    whole, half = (nll(model, x, samples=60, precision=word) for word in ("no", "bf16"))
    stated = half.diagnostics["bf16_difference"]
    assert half.value - whole.value == pytest.approx(stated, abs=1e-9)
    assert 0 < abs(stated) < 0.1
    spread = (half.per_example - whole.per_example).std() / 23**0.5
    assert half.diagnostics["bf16_difference_stderr"] == pytest.approx(float(spread), rel=1e-6)
    assert half.protocol["precision"] == "bf16"
    assert whole.protocol["precision"] == "no"
    assert "bf16_difference" not in whole.diagnostics


@pytest.mark.parametrize("name", KINDS)
def test_the_decoder_alone_works_in_half_precision(name):
    """Also where the caller opened autocast. Fault: an encoder, a lower prior or a classifier in
    bf16, or a density: whole nats.
    """
    model, x = small(name)
    kinds: dict[str, set[torch.dtype]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(
                lambda module, given, result, path=path: kinds.setdefault(path, set()).add(
                    result.dtype
                )
            )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll(model, x, samples=60, precision="no")
    assert {path for path, seen in kinds.items() if torch.bfloat16 in seen} == set()
    nll(model, x, samples=60, precision="bf16")
    half = {path for path, seen in kinds.items() if torch.bfloat16 in seen}
    assert half
    assert all("decoder" in path for path in half)
    assert half == {path for path in kinds if "decoder" in path}


def test_the_mixture_density_is_never_in_half_precision(monkeypatch):
    """Fault: tens of nats; see docs/derivations/mixture_precision.md."""
    seen = []
    right = DiagonalGaussianMixture.log_prob

    def watched(self: DiagonalGaussianMixture, z: Tensor) -> Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), z.dtype, right(self, z).dtype))
        return right(self, z)

    monkeypatch.setattr(DiagonalGaussianMixture, "log_prob", watched)
    model, x = small("vamp")
    nll(model, x, samples=60, precision="bf16")
    assert set(seen) == {(False, torch.float32, torch.float32)}


class HalfDecoder(nn.Module):
    """A decoder of somebody else's, which hands its features on as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, z: Tensor) -> Independent:
        return Independent(Normal(self.linear(z), 1.0), 1)


def test_densities_that_stay_in_half_precision_are_refused():
    """Fault: a number that is wrong by nats, without a word."""
    base = LinearGaussianVAE(2, 3)
    model = VAE(base.encoder, HalfDecoder(), base.prior)
    with pytest.raises(ValueError, match=r"float32 for `precision='bf16'`.*Normal.*bfloat16"):
        nll(model, torch.randn(4, 3), samples=10, precision="bf16")


def test_a_wrapped_decoder_of_means_is_taken():
    """Fault: means in bf16 inside somebody's likelihood."""
    encode = nn.Linear(3, 4)
    model = wrap(
        encode=lambda x: tuple(encode(x).chunk(2, -1)),
        decode=nn.Linear(2, 3),
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, 1.0), 1),
    )
    half = nll(model, torch.randn(4, 3), samples=50, precision="bf16")
    assert 0 < abs(half.diagnostics["bf16_difference"]) < 0.1


def test_a_difference_beyond_the_error_is_a_warning():
    """With the exact posterior the Monte-Carlo error is nothing, so any difference is beyond it."""
    model = LinearGaussianVAE(2, 3, scale=0.05)
    x = model.marginal().sample((8,)).float()
    half = nll(model, x, samples=100, precision="bf16")
    (words,) = [text for text in half.warnings if "bf16" in text]
    assert "8 images, 100 draws" in words
    rough, y = small("vae")
    rough.encoder.head.linear.bias.data += 1.0  # a poor posterior: a large error
    assert not any("bf16" in text for text in nll(rough, y, samples=20, precision="bf16").warnings)


def test_a_decoder_that_autocast_leaves_alone_is_told():
    model = LinearGaussianVAE(2, 3).double()
    x = model.marginal().sample((4,))
    half = nll(model, x.double(), samples=20, precision="bf16")
    assert any("bf16 changed nothing" in text for text in half.warnings)


def test_an_unknown_precision_is_refused():
    with pytest.raises((ValueError, TypeError)):  # the latter from pytest's own check of types
        nll(vae(), images(), samples=10, precision="half")


# -- compiled --------------------------------------------------------------------------------------


@pytest.fixture
def tracing(monkeypatch) -> Iterator[None]:
    """Traces alone, without translation and without checks of types; thrown away afterwards."""
    checked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    jaxtyping.config.update("jaxtyping_disable", checked)


@pytest.mark.usefixtures("tracing")
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("name", KINDS)
def test_a_compiled_likelihood_is_the_likelihood(name, precision):
    """23 images and 250 draws: tiles at the edges are smaller. Fault: other noise, autocast lost or
    spread, a trace for every size.
    """
    model, x = small(name)
    options = {"samples": 250, "rows": 1000, "precision": precision}
    plain = nll(model, x, **options)
    traced = nll(model, x, compile=True, **options)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["recompile_limit"]
    torch.testing.assert_close(traced.per_example, plain.per_example, rtol=1e-6, atol=1e-6)
    assert traced.protocol == plain.protocol | {"compiled": True}


@pytest.mark.usefixtures("tracing")
def test_what_cannot_be_compiled_is_refused(monkeypatch):
    """Fault: numbers of another density, a draw under another address, torch's own trace."""
    tilted, x = small("ncp")
    with pytest.raises(ValueError, match=r"density='global'` for `compile`"):
        nll(tilted, x, samples=10, density="groups", normalizer_samples=2, compile=True)
    model, x = small("vae")
    monkeypatch.setattr("priorwise.estimators.weights.has_noise_form", lambda posterior: False)
    with pytest.raises(ValueError, match=r"normal noise for `compile`; that of group 1"):
        nll(model, x, samples=10, compile=True)
    monkeypatch.undo()

    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.raises(CompilationError, match=r"no compiler here.*g\+\+"):
        nll(model, x, samples=10, compile=True)


@pytest.mark.parametrize("scale", [0.1, 0.03])
def test_a_fixed_scale_is_not_rounded(scale):
    """Fault: 0.1 as 0.10009766 in bfloat16, which costs an image of 784 pixels 60 nats."""
    head = Gaussian(4, (3,), scale=scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        observed = head(torch.randn(2, 4).bfloat16())
    assert observed.base_dist.scale.dtype == torch.float32
    assert float(observed.base_dist.scale[0, 0]) == pytest.approx(scale, rel=1e-6)
