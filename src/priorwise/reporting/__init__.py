"""Reports: the record of a model as a page, a model card and plain data; and pictures."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.reporting.card import model_card
    from priorwise.reporting.comparison import save_comparison
    from priorwise.reporting.group_report import report_group
    from priorwise.reporting.prior_hole import report, report_runs
    from priorwise.reporting.traversals import save_traversal
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "model_card",
    "report",
    "report_group",
    "report_runs",
    "save_comparison",
    "save_traversal",
]
