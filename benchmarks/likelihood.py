"""The negative log-likelihood: images per second, agreement with the peer, memory.

Contenders: ``priorwise.estimators.nll``, pythae's ``get_nll`` on the same weights (spared its
graph, which it would keep), and the floor: the decoder's float32 matrix products for so many draws,
a thousand at once. The two estimates must agree within three Monte-Carlo errors, on weights for
which that error is small and true (``contenders.even``). Memory is the peak of a child process for
each number of samples.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch

import priorwise as pw
from benchmarks import peer
from benchmarks.children import in_child
from benchmarks.contenders import TITLES, Architecture, build, even
from benchmarks.floor import decoder_pass, likelihood_pass
from benchmarks.images import binary_test
from benchmarks.report import Row, memory_rows, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race
from priorwise.estimators import nll

__all__ = ["measure", "our_run", "peer_run"]

_TARGETS: dict[Architecture, float] = {"vae_standard": 3.0, "vae_vamp": 14.0}
_ERRORS = 3.0


class _Evaluations:
    """Both estimators on the same weights, image by image; remembers what the peer found."""

    def __init__(self, architecture: Architecture, scale: Scale) -> None:
        self.scale = scale
        self.model = even(architecture, scale)
        self.components = scale.components if architecture == "vae_vamp" else 0
        self.x = binary_test(scale.likelihood_images * (scale.likelihood_rounds + 1))
        self.peer: Any = None
        self.peer_values: dict[int, float] = {}
        if peer.available():
            self.peer = peer.build_peer(scale, vamp=architecture == "vae_vamp")
            peer.copy_weights_(self.peer, self.model)

    def contenders(self) -> dict[str, Contender]:
        scale = self.scale
        found = {
            "ours": Contender(self._ours(count()), scale.likelihood_images),
            "floor": Contender(decoder_pass(scale.samples, scale), 1.0),
            "functions": Contender(
                likelihood_pass(scale.samples, scale, components=self.components), 1.0
            ),
        }
        if self.peer is not None:
            found["pythae"] = Contender(self._theirs(count()), 1.0)
        return found

    def _ours(self, turns: Iterator[int]) -> Callable[[], object]:
        size = self.scale.likelihood_images

        def run() -> object:
            first = size * next(turns)
            return nll(self.model, self.x[first : first + size], samples=self.scale.samples)

        return run

    def _theirs(self, turns: Iterator[int]) -> Callable[[], None]:
        def run() -> None:
            index = self.scale.likelihood_images * next(turns)
            with pw.seeded(0, "bench", "peer", index):
                self.peer_values[index] = -peer.log_likelihood(
                    self.peer, self.x[index : index + 1], self.scale.samples
                )

        return run

    def agreement(self, title: str) -> Row:
        """The peer's mean against ours on its images; its error is assumed to equal ours."""
        ours = nll(self.model, self.x[list(self.peer_values)], samples=self.scale.samples, seed=1)
        theirs = sum(self.peer_values.values()) / len(self.peer_values)
        error = math.sqrt(2.0) * ours.stderr
        agree = abs(theirs - ours.value) <= _ERRORS * error
        return plain_row(
            "likelihood",
            f"{title}, priorwise - pythae",
            ours.value - theirs,
            "nats",
            target=f"within {_ERRORS:g} errors",
            met=agree,
            note=f"agree: {'yes' if agree else 'no'}; {ours.value:.3f} and {theirs:.3f}, error "
            f"{error:.3f}, {ours.count} images, smallest ESS "
            f"{ours.diagnostics['ess_min']:.0f}",
        )


def _speed_rows(architecture: Architecture, scale: Scale) -> list[Row]:
    evaluations = _Evaluations(architecture, scale)
    result = race(evaluations.contenders(), rounds=scale.likelihood_rounds, warmup=1)
    title = f"{TITLES[architecture]} NLL, {scale.samples:,} samples"
    rows = [
        row_of("likelihood", f"{title}, priorwise", result.speed("ours"), "images/s"),
        row_of(
            "likelihood",
            f"{title}, floor",
            result.speed("floor"),
            "images/s",
            note="decoder products only",
        ),
        row_of("likelihood", f"{title}, priorwise / floor", result.ratio("ours", "floor"), "x"),
        row_of(
            "likelihood",
            f"{title}, priorwise / floor with functions",
            result.ratio("ours", "functions"),
            "x",
            note="all products, and one function a gate, pixel and component",
        ),
    ]
    if evaluations.peer is None:
        return [
            *rows,
            plain_row("likelihood", f"{title}, pythae", None, "images/s", note=peer.HOW_TO_INSTALL),
        ]
    ratio, target = result.ratio("ours", "pythae"), _TARGETS[architecture]
    return [
        *rows,
        row_of(
            "likelihood",
            f"{title}, floor with functions / pythae",
            result.ratio("functions", "pythae"),
            "x",
        ),
        row_of("likelihood", f"{title}, pythae", result.speed("pythae"), "images/s"),
        row_of("likelihood", f"{title}, priorwise / pythae", ratio, "x", at_least=target),
        evaluations.agreement(title),
    ]


def our_run(samples: int, **sizes: Any) -> Callable[[], object]:  # noqa: ANN401 - fields of Scale
    """Our estimate for ten images, for a child process."""
    model, x = build("vae_vamp", Scale("child", **sizes)), binary_test(10)
    return lambda: nll(model, x, samples=samples)


def peer_run(samples: int, **sizes: Any) -> Callable[[], object]:  # noqa: ANN401 - fields of Scale
    """The peer's estimate for one image as it is shipped, for a child process."""
    model, x = peer.build_peer(Scale("child", **sizes), vamp=True), binary_test(1)
    return lambda: peer.log_likelihood(model, x, samples, graph=True)


def _memory_rows(scale: Scale) -> list[Row]:
    threads = torch.get_num_threads()
    sizes = {"hidden": scale.hidden, "latent": scale.latent, "components": scale.components}
    costs = {
        n: in_child(__name__, "our_run", threads, samples=n, **sizes) for n in scale.memory_samples
    }
    rows = memory_rows("likelihood", "VAE VampPrior NLL memory", "samples", costs)
    if costs and peer.available():
        cost = in_child(__name__, "peer_run", threads, samples=scale.samples, **sizes)
        rows.append(
            plain_row(
                "likelihood",
                f"VAE VampPrior NLL memory, {scale.samples:,} samples, pythae",
                cost.peak,
                "MB",
                note=f"{cost.own:.0f} MB above torch and the model; one image, as it is shipped",
            )
        )
    return rows


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    rows = [row for architecture in _TARGETS for row in _speed_rows(architecture, scale)]
    return rows + _memory_rows(scale)
