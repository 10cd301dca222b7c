"""What is wrong with data, in one place so that a command can catch it."""

__all__ = ["DataError", "MissingDataError"]


class DataError(ValueError):
    """Data that cannot be used; the message says what was expected and what to do."""


class MissingDataError(DataError):
    """A data set that is not at hand and cannot be had from here."""
