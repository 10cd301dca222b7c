"""Errors for a quantity that a model or its data do not have, as opposed to a mistake."""

__all__ = ["MissingExtraError", "NotGaussianError", "UnavailableError"]


class MissingExtraError(ImportError, ValueError):
    """A package that an optional part needs is not installed; the message says which."""


class UnavailableError(ValueError):
    """This model or these data do not have the quantity; the message says why, and what works.

    An evaluation catches no other error, and records its message in place of the number.
    """


class NotGaussianError(UnavailableError, TypeError):
    """The quantity needs diagonal Gaussians, but the model has other distributions."""
