"""A compiled fit is the fit: the same losses up to rounding, the same resume, nothing left behind.

Most tests trace and do not translate (backend "aot_eager"), so that rounding is the same as well.
No test here is statistical.
"""

import os
import shutil
from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import torch
from test_golden import TWINS
from test_resume import assert_same_run
from torch._dynamo.utils import counters
from toys import splits, with_batch_norm, wrong

from priorwise import compilation, fit
from priorwise.compilation import CompilationError
from priorwise.objectives import ELBO, NCE, AnnealedVAE, Terms
from priorwise.schedules import warmup
from priorwise.training import RunFolderError
from priorwise.training.forward import require_compilation

QUICK = {"batch_size": 50, "lr": 2e-3, "progress": False}  # 50, 50 and 20 of 120
# The compiler looks at the gradients of tensors that have none, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:The .grad attribute")
COMPILER = shutil.which(os.environ.get("CXX", "g++"))


@pytest.fixture(autouse=True)
def tracing(monkeypatch) -> Iterator[None]:
    """No checks of types inside a trace, which is thrown away after each test."""
    checked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    jaxtyping.config.update("jaxtyping_disable", checked)


def losses(name: str, *, compile: bool, epochs: int = 2, **options: object) -> list[float]:
    """The loss of every turn of a twin's fit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        inner, data, optimizer = TWINS[name]()
    found: list[float] = []
    step = Terms.loss

    def recorded(terms: Terms) -> torch.Tensor:
        loss = step(terms)
        if loss.requires_grad:
            found.append(float(loss.detach()))
        return loss

    model = inner.ncp if isinstance(inner, NCE) else inner.model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Terms, "loss", recorded)
        fit(
            model,
            data,
            inner,
            optimizer=optimizer,
            compile=compile,
            epochs=epochs,
            **QUICK,
            **options,
        )
    return found


@pytest.mark.parametrize("name", ["vae_vamp", "ncp", "moons_factor_flow"])
def test_losses_are_those_of_a_plain_fit(name):
    """Fault: other random numbers, a step of the rehearsal that counts, a turn of another player,
    a batch that is left out.
    """
    plain, traced = losses(name, compile=False), losses(name, compile=True)
    turns = 2 if "factor" in name else 1
    assert counters["stats"]["unique_graphs"] > 0
    assert len(traced) - len(plain) == turns  # the rehearsal
    torch.testing.assert_close(torch.tensor(traced[turns:]), torch.tensor(plain), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["vae_vamp"])
def test_nothing_is_compiled_anew_after_two_epochs(name):
    """Fault: a trace for each step of a schedule, each epoch, or each smaller batch."""
    losses(name, compile=True, epochs=2)
    after_two = counters["stats"]["unique_graphs"]
    torch._dynamo.reset()
    counters.clear()
    losses(name, compile=True, epochs=7)
    assert counters["stats"]["unique_graphs"] == after_two
    assert not counters["recompile_limit"]


def annealed() -> AnnealedVAE:
    return AnnealedVAE(wrong(), capacity_steps=10)


def warming() -> ELBO:
    return ELBO(wrong(), beta=lambda step: warmup(step // 3 + 1, 4))


def test_a_schedule_of_the_users_own_is_called_at_every_step():
    """Fault: the value of the first step built into the trace."""
    seen = []

    def beta(step: int) -> float:
        seen.append(step)
        return 0.5 if step in (2, 5) else 1.0

    model = wrong()
    fit(
        model,
        splits(),
        ELBO(model, beta=beta),
        epochs=3,
        batch_size=20,
        compile=True,
        progress=False,
    )
    assert any(seen[start : start + 9] == list(range(9)) for start in range(len(seen)))


def test_batch_statistics_see_each_batch_once():
    """Fault: running statistics that the rehearsal has moved."""
    plain, traced = with_batch_norm(), with_batch_norm()
    traced.load_state_dict(plain.state_dict())
    for model, compile in ((plain, False), (traced, True)):
        fit(model, splits(), epochs=2, batch_size=20, compile=compile, progress=False)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(traced.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_compiled_fit_leaves_the_objects_as_they_were():
    """Fault: a wrapped module, an attribute, a gradient, or a mode that stays."""
    objective = warming()
    before = (set(vars(objective)), set(vars(objective.model)), objective.model.training)
    fit(objective.model, splits(), objective, epochs=1, batch_size=20, compile=True, progress=False)
    assert before == (set(vars(objective)), set(vars(objective.model)), objective.model.training)
    assert type(objective) is ELBO
    assert all(parameter.grad is None for parameter in objective.parameters())


def resumed_is_unbroken(build: Callable[[], ELBO | AnnealedVAE], folder) -> None:
    """Bit for bit, with a break in the middle of an epoch.

    The break comes from ``before_step``, which is not compiled: a break inside the objective would
    cut the compiled code in two, and other code rounds in another way.
    """
    options = {"batch_size": 20, "epochs": 4, "compile": True, "progress": False, "identity": {}}
    objective = build()
    fit(objective.model, splits(), objective, out=folder / "quiet", **options)
    steps = 0

    def breaking(*arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:
            os.kill(os.getpid(), 2)

    broken = build()
    broken.before_step = breaking
    torch._dynamo.reset()
    with pytest.raises(KeyboardInterrupt):
        fit(broken.model, splits(), broken, out=folder / "broken", **options)
    torch._dynamo.reset()
    again = build()
    fit(again.model, splits(), again, out=folder / "broken", **options)
    assert_same_run(folder / "quiet", folder / "broken")


@pytest.mark.parametrize("build", [warming, annealed])
def test_a_resumed_run_is_the_unbroken_one(build, tmp_path):
    """Fault: a rehearsal that moves the stream, or a number of the step built into the trace."""
    resumed_is_unbroken(build, tmp_path)


def test_another_setting_is_another_run(tmp_path):
    """Fault: a plain run that goes on compiled, with other rounding, unseen."""
    fit(wrong(), splits(), out=tmp_path / "run", epochs=1, progress=False)
    with pytest.raises(RunFolderError, match=r"compile was False, now True"):
        fit(wrong(), splits(), out=tmp_path / "run", epochs=1, compile=True, progress=False)


def test_what_cannot_be_compiled_is_refused_before_the_first_step(monkeypatch, tmp_path):
    """Fault: a trace of torch's, or a folder that holds a run that never began."""

    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    model = wrong()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(CompilationError, match=r"no compiler here.*g\+\+.*`compile` at False"):
        fit(model, splits(), out=tmp_path / "run", epochs=1, compile=True, progress=False)
    assert all(map(torch.equal, before, model.parameters()))
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused():
    with pytest.raises(ValueError, match=r"one process for `compile`; got 2"):
        require_compilation(2)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_translated_code_gives_the_same_losses_and_resumes(monkeypatch, tmp_path):
    """Fault: random numbers of the compiler's own, or code that differs from run to run."""
    monkeypatch.setattr(compilation, "BACKEND", "inductor")
    plain, translated = losses("vae_vamp", compile=False), losses("vae_vamp", compile=True)
    torch.testing.assert_close(torch.tensor(translated[1:]), torch.tensor(plain), rtol=1e-5, atol=0)
    resumed_is_unbroken(warming, tmp_path)
