"""Scoped and addressed randomness, schedules."""

import math

import pytest
import torch

from priorwise.randomness import seeded
from priorwise.schedules import cosine, warmup


def draw(seed, *address):
    with seeded(seed, *address):
        return torch.randn(4)


def test_the_same_address_gives_the_same_numbers():
    """Fault: a stream that depends on what was drawn before."""
    first = draw(3, "nll", 1, 2)
    torch.randn(17)
    assert torch.equal(draw(3, "nll", 1, 2), first)


def test_addresses_are_distinct():
    """Fault: seeds that are added up, so that (1, 2) meets (2, 1); the number 1 taken for the text "1"."""
    addresses = [(), (0,), (1,), (0, 0), (1, 2), (2, 1), (12,), ("1",), ("1", 2), ("a", "b"), ("ab",), (-1,)]
    draws = [draw(seed, *address) for seed in (0, 1, -1, 2**40) for address in addresses]
    assert len({tuple(values.tolist()) for values in draws}) == len(draws)


def test_neighbouring_addresses_are_independent():
    """Fault: neighbouring seeds whose streams resemble each other."""
    values = torch.stack([draw(0, index)[0] for index in range(2000)])
    correlation = float((values[1:] * values[:-1]).mean())
    assert abs(correlation) < 5.03 / math.sqrt(1999)
    assert abs(float(values.mean())) < 5.03 / math.sqrt(2000)


def test_the_outer_stream_goes_on():
    """Fault: a block that leaves its own stream behind, or moves the caller's."""
    torch.manual_seed(5)
    expected = torch.randn(6)
    torch.manual_seed(5)
    first = torch.randn(3)
    draw(0, "anything")
    torch.testing.assert_close(torch.cat([first, torch.randn(3)]), expected, rtol=0, atol=0)


def broken():
    with seeded(0, "broken"):
        torch.randn(3)
        raise RuntimeError("broken")


def test_the_outer_stream_goes_on_after_an_error():
    """Fault: a restoration that an exception skips."""
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_may_be_nested():
    """Fault: an inner block that moves the outer one's stream."""
    plain = draw(1, "outer")
    with seeded(1, "outer"):
        first = torch.randn(2)
        inner = draw(2, "inner")
        rest = torch.randn(2)
    assert torch.equal(torch.cat([first, rest]), plain)
    assert torch.equal(inner, draw(2, "inner"))


def test_no_seed_continues_the_callers_stream():
    """Fault: None taken for a seed of its own."""
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    assert torch.equal(draw(None, "anything"), expected)
    assert not torch.equal(draw(None, "anything"), expected)


def test_nothing_is_seeded_on_the_way_in():
    """Fault: a seed that is set for good."""
    before = torch.initial_seed()
    draw(123)
    assert torch.initial_seed() == before


def test_warmup():
    """Fault: a count from zero, a weight above one, a division by zero."""
    assert [warmup(epoch, 4) for epoch in (1, 2, 4, 5, 100)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert warmup(1, 0) == 1.0


def test_cosine():
    """Fault: a factor that rises again after the last step, or ends at zero where a floor is given."""
    assert cosine(0, 10) == 1.0
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0.0)
    assert cosine(20, 10, final=0.1) == pytest.approx(0.1)
    assert cosine(5, 10, final=0.2) == pytest.approx(0.6)
    assert cosine(0, 0) == 1.0
