"""Reports: what the numbers of a model say, as one page and as plain data; and pictures of single questions."""

from priorwise.reporting.comparison import save_comparison
from priorwise.reporting.prior_hole import report
from priorwise.reporting.traversals import save_traversal

__all__ = ["report", "save_comparison", "save_traversal"]
