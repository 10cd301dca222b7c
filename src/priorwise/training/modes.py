"""Which modules are in training mode during a fit: those that it trains, and no others."""

from collections.abc import Iterable, Set

from torch import nn

from priorwise.priors import AbstractPrior

__all__ = ["set_modes"]


def set_modes(modules: Iterable[nn.Module], trained: Iterable[nn.Parameter]) -> None:
    """Training mode for what is trained, and eval mode for everything else.

    A module is in training mode if it holds a parameter that is trained, at any depth. A module
    with parameters that are all frozen is in eval mode, so its batch statistics stay as they are
    and its dropout is off. A module without parameters, such as dropout, does as the module that
    contains it, where a prior is no reason: dropout in a frozen model stays off while the prior of
    this model is trained.

    Arguments:
        modules: The modules, with everything in them.
        trained: All parameters that the fit trains.
    """
    ids = {id(parameter) for parameter in trained}
    for module in modules:
        _set_mode(module, ids, within_trained=True)


def _set_mode(module: nn.Module, trained: Set[int], *, within_trained: bool) -> None:
    own = [id(parameter) for parameter in module.parameters()]
    module.training = not trained.isdisjoint(own) if own else within_trained
    of_priors = {
        id(parameter)
        for child in module.children()
        if isinstance(child, AbstractPrior)
        for parameter in child.parameters()
    }
    body = [parameter for parameter in own if parameter not in of_priors]
    is_trained = module.training and (not own or not trained.isdisjoint(body))
    for child in module.children():
        _set_mode(child, trained, within_trained=is_trained)
