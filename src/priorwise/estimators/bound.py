"""The evidence lower bound of a model on data.

Letters: ``N`` images, ``S`` draws from each posterior, ``B`` images of a chunk.
"""

import math

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.distributions import log_unnorm
from priorwise.estimators.base import Estimate, standard_error, with_cause
from priorwise.estimators.blocks import image_chunks, tile_rows
from priorwise.estimators.normalizer import require_log_norm
from priorwise.estimators.weights import ROWS, check_images, tiles
from priorwise.models import AbstractModel, Group, checked_observations, frozen
from priorwise.storage import content_hash

__all__ = ["elbo"]


def _elbo_terms(model: AbstractModel, groups: list[Group], x: Tensor) -> dict[str, Tensor]:
    """Distortion and rates, ``(S, B)`` each, in nats."""
    rates = {f"rate_{group.index}": group.rate() for group in groups}
    return {"distortion": -log_unnorm(model.observed(groups, x), x)} | rates


def elbo(
    model: AbstractModel, x: Array, *, samples: int = 1, seed: int = 0, rows: int | None = None
) -> Estimate:
    r"""The evidence lower bound, a lower bound of log p(x), averaged over ``x``.

    .. math:: \mathbb{E}_{q(z|x)}\big[\log p(x|z) + \log p(z) - \log q(z|x)\big]

    ``diagnostics`` holds its parts: ``distortion`` and one ``rate_k`` per group, in nats. Every
    model gets the same random numbers for the same seed, so models, or epochs, are compared under
    common noise.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), equation 3.
        https://arxiv.org/abs/1312.6114

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``.
        samples: Draws from the posterior of each.
        seed: Seed of the draws.
        rows: Draws x images that are evaluated at once; no influence on the numbers beyond
            rounding. If None, 2000 or as many as take a tile of 256 MB.

    Raises:
        ValueError: for a prior whose normaliser is unknown.

    Example:
        With the exact posterior the bound is the log-likelihood.

        >>> from priorwise.randomness import seeded
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((100,)).float()
        >>> abs(elbo(model, x).value - float(model.log_px(x).mean())) < 1e-4
        True
    """
    check_images(model, x, samples, rows)
    x, doubts = checked_observations(model, x)
    sums: dict[str, list[Tensor]] = {}
    bound_squares: list[Tensor] = []
    with frozen(model), torch.no_grad():
        known = require_log_norm(model)
        rows = tile_rows(model, ROWS, x) if rows is None else rows
        for images in image_chunks(len(x), samples, rows):
            totals: dict[str, Tensor] = {}
            squares = torch.zeros(len(images), dtype=torch.float64)
            for draw, part in tiles(model, x, images, samples=samples, seed=seed, rows=rows):
                groups = model.top_down(draw, draw.batch_shape, part)
                terms = _elbo_terms(model, groups, part)
                for name, term in terms.items():
                    totals[name] = totals.get(name, 0) + term.double().sum(0).cpu()
                squares += torch.stack(list(terms.values())).sum(0).double().square().sum(0).cpu()
            for name, total in totals.items():
                sums.setdefault(name, []).append(total / samples)
            bound_squares.append(squares / samples)
    means = {name: torch.cat(parts) for name, parts in sums.items()}
    per_example = -torch.stack(list(means.values())).sum(0) - known.value
    spread = torch.cat(bound_squares) - (per_example + known.value).square()
    noise = (
        (spread.clamp(min=0) / max(1, samples - 1)).sum().sqrt() / len(x)
        if samples > 1
        else math.nan
    )
    estimate = Estimate(
        value=float(per_example.mean()),
        stderr=math.hypot(float(noise), known.stderr),
        count=len(x),
        stderr_data=standard_error(per_example),
        per_example=per_example,
        diagnostics={name: float(mean.mean()) for name, mean in means.items()},
        protocol={"estimator": "ELBO", "samples": samples, "seed": seed},
        warnings=(*doubts, *known.doubts),
        data=content_hash({"x": x}),
    )
    return with_cause(estimate, model)
