"""Optimisers, their learning rate at every step, and the normalisation of gradients."""

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.optim import Adam, Adamax, Optimizer

from priorwise.choices import OptimizerName
from priorwise.config.training import TrainingConfig
from priorwise.schedules import cosine

__all__ = ["build_optimizer", "lr_factor", "normalize_gradients_", "set_lrs"]


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

    The weight decay is an L2 penalty: it is added to the gradient and so goes through the averages,
    as in the code of the NVAE and VAEBM papers. With normalised gradients it is added after the
    division.

    References:
        Adam: A Method for Stochastic Optimization (Kingma & Ba, 2015), algorithms 1 and 2.
        https://arxiv.org/abs/1412.6980

        NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat & Kautz, 2020), which uses Adamax.
        https://arxiv.org/abs/2007.03898

    Raises:
        ValueError: if no parameter requires a gradient.
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
    """The fraction of the learning rate at ``step`` of ``steps``: a linear rise, then the schedule.

    Of W warm-up steps the first has 1/W of the rate and the last the whole rate. A cosine covers
    the remaining steps.
    """
    rise = config.lr_warmup_steps
    if step < rise:
        return (step + 1) / rise
    if config.schedule == "cosine":
        return cosine(step - rise, steps - rise, final=config.lr_final)
    return 1.0


def set_lrs(optimizer: Optimizer, lrs: Sequence[float], factor: float) -> None:
    """Set the learning rate of the next step: each group's own one, times the factor."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr * factor


def normalize_gradients_(optimizer: Optimizer, floor: float = 1e-7) -> None:
    r"""Divide the gradient of each parameter tensor by its norm, in place.

    .. math:: g \leftarrow g / (\lVert g \rVert_2 + 10^{-7})

    A gated layer is one tensor here and two in the code of the VampPrior paper, so here its two
    halves share a norm.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. https://arxiv.org/abs/1705.07120

        Normalized Gradient with Adaptive Stepsize Method for Deep Neural Network Training (Yu et
        al., 2017). https://arxiv.org/abs/1707.04822
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
