"""Reports: what the numbers of a model say, as one page and as plain data."""

from priorwise.reporting.prior_hole import report

__all__ = ["report"]
