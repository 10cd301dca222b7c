"""Fixtures of the suite. Nothing of priorwise is imported here: the type checker must see its
import.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import pytest
import torch
from torch.distributions import Distribution


@pytest.fixture(autouse=True)
def own_random_stream(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test draws from a stream that its name alone decides, so that no test moves another's
    numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(
            int.from_bytes(blake2b(request.node.nodeid.encode(), digest_size=6).digest())
        )
        yield


@contextmanager
def _validation_kept() -> Iterator[None]:
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution._validate_args = before


@pytest.fixture
def zuko() -> Iterator[object]:
    """The zuko library where it is installed;
    its switch, torch's argument validation, is put back.
    """
    with _validation_kept():
        yield pytest.importorskip("zuko")
