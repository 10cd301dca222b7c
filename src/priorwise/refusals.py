"""What is raised where a quantity does not exist for a model or for the data, as opposed to a mistake."""

__all__ = ["NotGaussianError", "UnavailableError"]


class UnavailableError(ValueError):
    """This model, or these data, do not have the quantity; the message says why and what does work.

    An evaluation catches this error alone and records its words in place of the number.
    """


class NotGaussianError(UnavailableError, TypeError):
    """A quantity that needs diagonal Gaussians, asked for of something else."""
