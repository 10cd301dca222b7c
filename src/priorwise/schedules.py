"""Functions of the training step or epoch: warm-up of the KL weight, decay of the learning rate."""

import math

__all__ = ["cosine", "warmup"]


def warmup(epoch: int, epochs: int) -> float:
    """The KL weight beta of an epoch, ``min(1, epoch / epochs)``; 1 without a warm-up.

    Epochs count from 1.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5: a staircase with one step per
        epoch. https://arxiv.org/abs/1705.07120
    """
    return min(1.0, epoch / epochs) if epochs > 0 else 1.0


def cosine(step: int, steps: int, *, final: float = 0.0) -> float:
    """The factor of the learning rate at a step: half a cosine, from 1 down to ``final``."""
    progress = min(1.0, step / max(1, steps))
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
