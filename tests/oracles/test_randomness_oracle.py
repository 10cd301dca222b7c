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
    """Fault: seeds that are added up, so that (1, 2) meets (2, 1); the number 1 taken for the text
    "1".
    """
    addresses = [
        (),
        (0,),
        (1,),
        (0, 0),
        (1, 2),
        (2, 1),
        (12,),
        ("1",),
        ("1", 2),
        ("a", "b"),
        ("ab",),
        (-1,),
    ]
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


# --- devices, played by generators of the CPU, as the machine may have none


class FakeMetal:
    """What ``torch.mps`` offers, over a generator of the CPU."""

    def __init__(self):
        self.generator = torch.Generator()
        self.get_rng_state = self.generator.get_state
        self.set_rng_state = self.generator.set_state
        self.manual_seed = self.generator.manual_seed


@pytest.fixture
def devices(monkeypatch):
    """Two CUDA devices, of which the second is the current one, two of XPU and Apple's, all
    initialised.
    """
    cuda, xpu = ((torch.Generator(), torch.Generator()) for _ in range(2))
    metal = FakeMetal()
    for module, generators in ((torch.cuda, cuda), (torch.xpu, xpu)):
        monkeypatch.setattr(module, "is_initialized", lambda: True)
        monkeypatch.setattr(module, "is_available", lambda: True)
        monkeypatch.setattr(module, "default_generators", generators)
        monkeypatch.setattr(module, "current_device", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "mps", metal)
    generators = [*cuda, *xpu, metal.generator]
    for number, generator in enumerate(generators):
        generator.manual_seed(number)
    return generators


def draws_of(generators):
    return torch.stack([torch.randn(4, generator=generator) for generator in generators])


def test_draws_on_every_device_depend_on_the_address_alone(devices):
    """Fault: a stream of the current CUDA device only, so that draws on cuda:0 or Apple's go on as
    they please.
    """
    with seeded(3, "device"):
        first = draws_of(devices)
    draws_of(devices[:3])
    with seeded(3, "device"):
        assert torch.equal(draws_of(devices), first)
    with seeded(3, "another"):
        assert (draws_of(devices) != first).any(1).all()


def test_the_stream_of_every_device_goes_on(devices):
    """Fault: a device whose stream the block leaves behind, after an error too."""
    states = [generator.get_state() for generator in devices]
    with seeded(3, "device"):
        draws_of(devices)
    for generator, state in zip(devices, states, strict=True):
        assert torch.equal(generator.get_state(), state)
    with pytest.raises(RuntimeError, match="broken"):
        broken()
    for generator, state in zip(devices, states, strict=True):
        assert torch.equal(generator.get_state(), state)


def test_no_seed_leaves_the_devices_alone(devices):
    """Fault: a seed of its own for every device when none was asked for."""
    states = [generator.get_state() for generator in devices]
    draw(None, "anything")
    assert all(
        torch.equal(generator.get_state(), state)
        for generator, state in zip(devices, states, strict=True)
    )


def test_no_device_is_initialised(monkeypatch):
    """Fault: a block that starts CUDA, which takes seconds and memory and forbids a later fork."""

    def started(*arguments):
        raise AssertionError("a device was initialised")

    for module in (torch.cuda, torch.xpu):
        monkeypatch.setattr(module, "is_available", lambda: True)
        monkeypatch.setattr(module, "_lazy_init", started)
        monkeypatch.setattr(module, "_lazy_call", started)
        monkeypatch.setattr(module, "current_device", started)
    draw(0, "anything")
    assert not torch.cuda.is_initialized()


def test_warmup():
    """Fault: a count from zero, a weight above one, a division by zero."""
    assert [warmup(epoch, 4) for epoch in (1, 2, 4, 5, 100)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert warmup(1, 0) == 1.0


def test_cosine():
    """Fault: a factor that rises again after the last step,
    or ends at zero where a floor is given.
    """
    assert cosine(0, 10) == 1.0
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0.0)
    assert cosine(20, 10, final=0.1) == pytest.approx(0.1)
    assert cosine(5, 10, final=0.2) == pytest.approx(0.6)
    assert cosine(0, 0) == 1.0
