"""Errors for a quantity that a model or its data do not have, as opposed to a mistake."""

__all__ = ["NotGaussianError", "UnavailableError"]


class UnavailableError(ValueError):
    """This model or these data do not have the quantity; the message says why, and what works.

    An evaluation catches no other error, and records its message in place of the number.
    """


class NotGaussianError(UnavailableError, TypeError):
    """The quantity needs diagonal Gaussians, but the model has other distributions."""
