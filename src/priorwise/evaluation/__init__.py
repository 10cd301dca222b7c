"""Evaluation: measure a model once, into one record that every view reads."""

from priorwise.evaluation.gain import gain_over
from priorwise.evaluation.measuring import measure
from priorwise.evaluation.quantities import QUANTITIES
from priorwise.evaluation.quantity import Cell, Quantity
from priorwise.evaluation.record import EvaluationRecord
from priorwise.evaluation.runs import (
    GroupRecords,
    evaluate_group,
    evaluate_run,
    kept_record,
    record_of_base,
    record_of_run,
    seeds_of,
)
from priorwise.evaluation.subject import Subject

__all__ = [
    "QUANTITIES",
    "Cell",
    "EvaluationRecord",
    "GroupRecords",
    "Quantity",
    "Subject",
    "evaluate_group",
    "evaluate_run",
    "gain_over",
    "kept_record",
    "measure",
    "record_of_base",
    "record_of_run",
    "seeds_of",
]
