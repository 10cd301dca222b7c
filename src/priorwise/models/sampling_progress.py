"""How far one call of ``model.sample`` has come, over all groups and all steps of a sampler."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from priorwise.models.base import AbstractJointModel, AbstractModel, example_pass, frozen
from priorwise.progress import sampling_watched

__all__ = ["sampling_reported"]


@contextmanager
def sampling_reported(
    model: AbstractModel, amount: int, report: Callable[[int | float], None] | None
) -> Iterator[None]:
    """Report ``amount`` in all while one call of ``model.sample`` draws group after group."""
    if report is None:
        yield
        return
    with frozen(model):
        calls = 1 if isinstance(model, AbstractJointModel) else len(example_pass(model))
    done = 0.0

    def advance(part: float) -> None:
        nonlocal done
        part = min(part * amount / calls, amount - done)
        done += part
        report(part)

    with sampling_watched(advance):
        yield
    report(amount - done)
