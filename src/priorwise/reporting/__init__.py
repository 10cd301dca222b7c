"""Reports: what the numbers of a model say, as a page and as data; pictures."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.reporting.comparison import save_comparison
    from priorwise.reporting.prior_hole import report
    from priorwise.reporting.traversals import save_traversal
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = ["report", "save_comparison", "save_traversal"]
