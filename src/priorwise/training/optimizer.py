"""Optimisers, their learning rate at every step, and the VampPrior paper's normalisation of gradients."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Adam, Adamax, Optimizer

from priorwise.choices import OptimizerName
from priorwise.config.training import TrainingConfig
from priorwise.schedules import cosine

__all__ = ["build_optimizer", "lr_factor", "normalize_gradients_", "set_lr"]


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    *,
    name: OptimizerName = "adam",
    weight_decay: float = 0.0,
    eps: float = 1e-8,
) -> Optimizer:
    """Fused Adam, or Adamax, on the parameters that require gradients.

    The weight decay is L2: it goes into the gradient and so through the averages, as in the code of
    the NVAE and VAEBM papers. With normalised gradients it is added after the division.

    References:
        Adam (Kingma & Ba, 2015), algorithms 1 and 2. Adamax: NVAE (Vahdat & Kautz, 2020).

    Raises:
        ValueError: if there is nothing to train.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ValueError(
            "expected at least one parameter to train; all have `requires_grad=False` or there "
            "are none."
        )
    if name == "adamax":
        return Adamax(trained, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    return Adam(trained, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def lr_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """The part of the learning rate that holds at ``step`` of ``steps``: a linear rise, then the schedule.

    Of W warm-up steps the first has 1/W and the last the whole rate; a cosine covers the steps that
    are left.
    """
    rise = config.lr_warmup_steps
    if step < rise:
        return (step + 1) / rise
    if config.schedule == "cosine":
        return cosine(step - rise, steps - rise, final=config.lr_final)
    return 1.0


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def normalize_gradients_(optimizer: Optimizer, floor: float = 1e-7) -> None:
    r"""Divide each parameter tensor's gradient by its norm, in place: :math:`g / (\lVert g \rVert_2 + 10^{-7})`.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, after Yu et al. (2017). A gated
        layer is one tensor here and two in the paper's code, so its two halves share a norm.
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
