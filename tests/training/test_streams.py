"""Fits on data sets and loaders of torch, which draw their examples afresh."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler
from toys import OPTIONS, splits, wrong

from priorwise import fit, wrap
from priorwise.data import DataError, Stream, as_splits, from_dataset
from priorwise.storage import content_hash

ROWS = splits(train=90).train


class Plain(Dataset):
    """Examples with labels, and nothing random."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        return ROWS[index], index % 3


class Jittered(Plain):
    """Noise from torch, numpy and Python; the third example of a step may be the last."""

    last = 10**9

    def __init__(self):
        self.drawn = 0

    def __getitem__(self, index):
        self.drawn += 1
        if self.drawn > self.last:
            raise KeyboardInterrupt
        noise = torch.randn(3) + float(np.random.randn()) + random.gauss(0, 1)
        return {"x": ROWS[index] + 0.01 * noise}


class Flowing(IterableDataset):
    """Rows in the order of torch's generator, and an iterable that may break."""

    last = 10**9

    def __iter__(self):
        for index in range(90):
            if index == self.last:
                raise KeyboardInterrupt
            yield ROWS[index] + 0.01 * torch.randn(3)


def flowing(**settings):
    return Stream(Flowing(), examples=80, validation=ROWS[:20], test=ROWS[20:30], **settings)


def weights(model):
    return content_hash(model.state_dict())


# -- resuming --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["by index", "iterable"])
def test_a_resumed_fit_equals_an_unbroken_one(kind, tmp_path, monkeypatch):
    """Fault: noise that depends on how often the process was started."""

    def run(folder):
        model = wrong()
        data = Jittered() if kind == "by index" else flowing()
        result = fit(model, data, out=folder, checkpoint_seconds=1e-9, **OPTIONS)
        return weights(model), result.history

    whole = run(tmp_path / "whole")
    broken = Jittered if kind == "by index" else Flowing
    monkeypatch.setattr(broken, "last", 170 if kind == "by index" else 60)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    assert (tmp_path / "broken" / "last.safetensors").exists()
    monkeypatch.setattr(broken, "last", 10**9)
    torch.randn(5), random.random(), np.random.rand()
    assert run(tmp_path / "broken") == whole


def test_epochs_draw_afresh_and_the_held_out_data_stay():
    stream = Stream(Jittered())
    rows = torch.arange(5)
    first, second = stream.batch(rows, 1, 0), stream.batch(rows, 2, 0)
    assert not torch.equal(first, second)
    assert torch.equal(stream.batch(rows, 1, 0), first)
    assert not torch.equal(stream.batch(rows, 1, 7), first)
    assert torch.equal(stream.evaluation("validation"), Stream(Jittered()).evaluation("validation"))
    assert stream.fingerprint() == Stream(Jittered()).fingerprint()
    assert stream.fingerprint() != Stream(Jittered(), seed=1).fingerprint()


# -- what a fit sees -------------------------------------------------------------------------------


def test_the_splits_are_those_of_the_same_arrays():
    """Nothing is lost, nothing is seen twice."""
    stream, drawn = Stream(Plain()), from_dataset(Plain())
    parts = [stream.batch(torch.arange(stream.train_size), 1, 0), drawn.validation, drawn.test]
    assert torch.equal(parts[0], drawn.train)
    assert [len(part) for part in parts] == [72, 9, 9]
    rows = torch.cat(parts)
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in ROWS.tolist()}
    assert torch.equal(as_splits(Plain()).train, drawn.train)
    assert "drawn once" in drawn.origin


def test_a_stream_without_noise_trains_as_its_rows_do():
    """Fault: an order, a batch or a share of their own."""
    streamed, kept = wrong(), wrong()
    history = fit(streamed, Plain(), **OPTIONS).history
    assert history == fit(kept, from_dataset(Plain()), **OPTIONS).history
    assert weights(streamed) == weights(kept)


def test_an_iterable_keeps_its_order():
    stream = flowing()
    batches = [stream.batch(rows, 1, 0) for rows in stream.order().split(32)]
    assert (torch.cat(batches) - ROWS[:80]).abs().max() < 0.1
    resumed = flowing()
    resumed.batch(stream.order()[:32], 0, 0)  # as a fit does first
    assert torch.equal(resumed.batch(stream.order()[64:], 1, 0), batches[2])
    assert not torch.equal(stream.batch(stream.order()[:32], 1, 7), batches[0])


@pytest.mark.parametrize("workers", [0])
def test_loaders(workers):
    by_index = Stream(DataLoader(Plain(), batch_size=7, shuffle=True, num_workers=workers))
    assert torch.equal(
        by_index.batch(torch.arange(9), 1, 0), Stream(Plain()).batch(torch.arange(9), 1, 0)
    )
    loader = DataLoader(Flowing(), batch_size=7)
    settings = {"examples": 80, "validation": ROWS[:20], "test": ROWS[20:30]}
    batch = Stream(loader, **settings).batch(torch.arange(10), 1, 0)
    assert (batch - ROWS[:10]).abs().max() < 0.1
    doubled = DataLoader(Plain(), collate_fn=lambda rows: 2 * torch.stack([x for x, _ in rows]))
    assert torch.equal(
        Stream(doubled).batch(torch.arange(4), 1, 0),
        2 * Stream(Plain()).batch(torch.arange(4), 1, 0),
    )


def test_bytes_and_images_without_a_channel():
    class Grey(Plain):
        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            return (torch.randint(0, 256, (4, 4), generator=generator).to(torch.uint8), 0)

    stream = Stream(Grey())
    assert (stream.spec.shape, stream.spec.levels) == ((1, 4, 4), 256)
    x = stream.batch(torch.arange(6), 1, 0)
    assert x.shape == (6, 1, 4, 4)
    assert 0 < float(x.min()) < float(x.max()) < 1
    encode = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    model = wrap(
        encode=lambda x: Independent(Normal(encode(x), 1.0), 1),
        decode=nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4))),
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, 0.5), 3),
    )
    assert fit(model, Grey(), epochs=1, train="all", progress=False).data["levels"] == 256


# -- what is refused -------------------------------------------------------------------------------


class Odd(Plain):
    def __init__(self, example):
        self.example = example

    def __getitem__(self, index):
        return self.example(index)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stream(Flowing()), "expected `examples`, the length of an epoch"),
        (lambda: Stream(Flowing(), examples=9), "expected `validation` and `test` for an iterable"),
        (lambda: Stream(Odd(lambda i: {"picture": ROWS[i]})), "got picture"),
        (lambda: Stream(Odd(lambda i: torch.zeros(1 + i % 2))), "observations of one shape"),
        (lambda: Stream(Odd(lambda i: "text")), "got str"),
        (lambda: Stream(Plain(), validation=0.7), "above 0 and below 0.5"),
        (
            lambda: Stream(DataLoader(Plain(), sampler=WeightedRandomSampler([1.0] * 90, 90))),
            "without a sampler of its own",
        ),
    ],
)
def test_what_cannot_be_streamed_is_refused(make, words):
    with pytest.raises(DataError, match=words):
        make()


def test_an_iterable_that_ends_early_is_refused():
    stream = Stream(Flowing(), examples=95, validation=ROWS[:20], test=ROWS[20:30])
    stream.batch(torch.arange(50), 1, 0)
    with pytest.raises(DataError, match=r"expected 95 examples in an epoch; .* ended after 90"):
        stream.batch(torch.arange(50, 95), 1, 0)


def test_a_batch_unlike_the_held_out_data_is_refused():
    counter = itertools.count()

    def example(index):
        return torch.full((3,), float(index % 2 if next(counter) < 40 else 0.5))

    stream = Stream(Odd(example))
    with pytest.raises(DataError, match=r"expected whole numbers 0\.\.1 in a batch"):
        stream.batch(torch.arange(30), 1, 0)
