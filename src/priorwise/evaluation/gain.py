"""How many nats of likelihood one model gains over another, image by image."""

import math
from typing import Any

from priorwise.evaluation.record import EvaluationRecord, plain

__all__ = ["gain_over"]


def gain_over(base: EvaluationRecord, other: EvaluationRecord) -> dict[str, Any]:
    """The NLL of ``base`` minus that of ``other`` in nats, paired image by image, as plain data.

    ``stderr_total`` adds two errors in quadrature: the error over the images and the Monte-Carlo
    error, log Z included. If a likelihood is missing, ``refused`` says why.
    """
    before, after = base.estimate("nll"), other.estimate("nll")
    if before is None:
        return {"refused": "the base has no likelihood to compare with."}
    if after is None:
        return {"refused": "this model has no likelihood to compare."}
    if before.data != after.data:
        return {
            "refused": "the two were evaluated on different test images; evaluate both on the same."
        }
    if not (math.isfinite(before.value) and math.isfinite(after.value)):
        return {"refused": "one of the two likelihoods is not finite."}
    gain = before.minus(after)
    total = math.hypot(gain.stderr, 0.0 if gain.stderr_data is None else gain.stderr_data)
    return plain(gain.to_json() | {"stderr_total": total})
