"""Progress bars: every one is moved to its end, also where a sampler or a chain does the work."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from priorwise.config.run import EvaluationConfig
from priorwise.data import Splits, as_splits
from priorwise.evaluation import QUANTITIES, Subject
from priorwise.models import NCP, moons_vae
from priorwise.models.sampling_progress import sampling_reported
from priorwise.reporting import save_comparison, save_traversal
from priorwise.samplers import SIR, Langevin, Rejection


class Bars:
    """Stands in for the terminal: the total of each bar, and how far it was moved, in parts."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        self.parts: dict[str, list[float]] = {}

    @contextmanager
    def bar(self, description: str, total: float, **_: object) -> Iterator[object]:
        self.total[description], self.parts[description] = total, []

        def advance(amount: float = 1, **_: object) -> None:
            self.parts[description].append(amount)

        yield advance


def data() -> Splits:
    return as_splits(torch.randn(1400, 2))


def ncp() -> NCP:
    model = NCP(moons_vae(), hidden_features=(8,), max_logit=1.0)
    model.sampler = SIR(50)
    return model


@pytest.mark.parametrize(
    ("key", "description"),
    [
        ("two_sample", "two-sample test"),
        ("leakage", "leakage"),
        ("symmetric_kl", "symmetric KL"),
        ("quality", "sample quality"),
    ],
)
def test_every_quantity_moves_its_bar_to_the_end(monkeypatch, key, description):
    """Fault: minutes of an NCP's sampling without a sign of life; a total that is never reached."""
    bars = Bars()
    monkeypatch.setattr("priorwise.evaluation.subject.progress_bar", bars.bar)
    model = ncp()
    model.set_log_norm(0.0, 0.0)
    config = EvaluationConfig(quality="raw", quality_images=60)
    quantity = next(quantity for quantity in QUANTITIES if quantity.key == key)
    quantity.compute(Subject(model, data(), config))
    assert sum(bars.parts[description]) == pytest.approx(bars.total[description])
    assert len(bars.parts[description]) > 2
    assert max(bars.parts[description]) < bars.total[description] / 2


def test_a_comparison_moves_its_bar_to_the_end(monkeypatch, tmp_path):
    bars = Bars()
    monkeypatch.setattr("priorwise.reporting.comparison.progress_bar", bars.bar)
    models = {"a": moons_vae(), "b": moons_vae()}
    save_comparison(models, data(), tmp_path / "a.png", draws=600)
    assert bars.total == {"draws": 2400}
    assert sum(bars.parts["draws"]) == 2400


def test_walks_move_their_bar_to_the_end(monkeypatch, tmp_path):
    bars = Bars()
    monkeypatch.setattr("priorwise.reporting.traversals.progress_bar", bars.bar)
    save_traversal(moons_vae(), data(), tmp_path / "a.png", pairs=1, dimensions=1, steps=3)
    assert sum(bars.parts["walks"]) == bars.total["walks"]


@pytest.mark.parametrize("sampler", [SIR(5000), Langevin(7), Rejection(), None])
def test_one_call_of_a_sampler_is_reported_in_parts(sampler):
    """Fault: the steps of a chain counted as whole draws, or nothing before the end."""
    parts: list[float] = []
    model = ncp()
    with sampling_reported(model, 40, parts.append):
        model.sample(40, sampler, seed=0)
    assert sum(parts) == pytest.approx(40)
    assert len(parts) > 1
    assert min(parts) >= 0
    model.sample(3, sampler, seed=0)  # nobody watches any more
    assert sum(parts) == pytest.approx(40)
