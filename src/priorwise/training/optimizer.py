"""Optimisers, and the paper's normalisation of gradients."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Adam, Optimizer

__all__ = ["build_optimizer", "normalize_gradients_", "set_lr"]


def build_optimizer(
    parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.999)
) -> Optimizer:
    """Fused Adam with torch's defaults, on the parameters that require gradients."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ValueError("expected at least one parameter to train; all have `requires_grad=False` or there are none.")
    return Adam(trained, lr=lr, betas=betas, fused=True)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def normalize_gradients_(optimizer: Optimizer, floor: float = 1e-7) -> None:
    r"""Divide each parameter tensor's gradient by its norm, in place: :math:`g / (\lVert g \rVert_2 + 10^{-7})`.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, after Yu et al. (2017). A gated layer is one tensor
        here and two in the paper's code, so its two halves share a norm.
    """
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    norms = torch._foreach_norm(gradients)
    torch._foreach_add_(norms, floor)
    torch._foreach_div_(gradients, norms)
