"""Made-up entries of a report: numbers on either side of every threshold,
with nothing left to chance.
"""

import math
from typing import Any

import torch

from priorwise.config.run import EvaluationConfig
from priorwise.estimators import Estimate
from priorwise.evaluation import EvaluationRecord
from priorwise.evaluation.record import plain
from priorwise.reporting.entries import Entry


def group(jsd: float, error: float, **changes: Any) -> dict[str, Any]:
    """A group whose classifier proves this bound with this standard error."""
    bce = 2 * (math.log(2) - jsd)
    return {
        "group": 1,
        "bce": bce,
        "bce_mean": bce / 2,
        "bce_stderr": 2 * error,
        "jsd": jsd,
        "calibration": 1.0,
        "calibration_stderr": 0.1,
        "calibration_ess": 500.0,
        "ess": {"50": 20.0},
        **changes,
    }


def two_sample(jsd: float, error: float, z_score: float = 1.0) -> dict[str, Any]:
    protocol = {"train": 5000}
    accuracy = Estimate(0.5 + jsd / 2, 0.01, 100, unit="share", protocol=protocol)
    return {
        "accuracy": accuracy,
        "z_score": z_score,
        "p_value": 0.2,
        "jsd": Estimate(jsd, error, 100),
    }


def nll(
    value: float, *, spread: float = 1.0, stderr: float = 0.0, warnings: tuple[str, ...] = ()
) -> Estimate:
    per_example = value + spread * torch.tensor([-1.0, 1.0] * 50, dtype=torch.float64)
    return Estimate(
        value,
        stderr,
        100,
        stderr_data=0.1,
        per_example=per_example,
        diagnostics={"ess_median": 100.0, "ess_min": 30.0, "elbo": -value - 1},
        protocol={"samples": 7},
        warnings=warnings,
        data="some images",
    )


def refused(reason: str) -> dict[str, str]:
    return {"refused": reason}


def entry(
    name: str,
    *,
    gain: Any = None,
    same_vae: bool = False,
    networks: str = "",
    **quantities: Any,
) -> Entry:
    """An entry of a report; ``quantities`` over a plain VAE's, None takes one away."""
    values = {
        "nll": nll(100.0),
        "hole": [group(0.1, 0.01)],
        "two_sample": two_sample(0.1, 0.01),
        "symmetric_kl": Estimate(1.0, 0.1, 100),
        **quantities,
    }
    numbers = {key: plain(value) for key, value in values.items() if value is not None}
    record = EvaluationRecord(
        {
            "subject": {
                "about": "VAE",
                "weights": name,
                "networks": networks,
                "probe": [0.1, -2.0, -1.0],
                "data": "some data",
                "data_fingerprint": "abc",
            },
            "config": EvaluationConfig().model_dump(),
            "settings": {},
            "images": 100,
            "versions": {"priorwise": "1"},
            **numbers,
        }
    )
    if isinstance(values["nll"], Estimate):
        record.per_image["nll"] = values["nll"].per_example
    return Entry(name, record, gain, same_vae)


def gain(value: float, stderr: float, stderr_data: float) -> dict[str, Any]:
    estimate = Estimate(value, stderr, 100, stderr_data=stderr_data)
    return estimate.to_json() | {"stderr_total": math.hypot(stderr, stderr_data)}


def regrouped(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "group": index} for index, each in enumerate(groups, 1)]


__all__ = ["entry", "gain", "group", "nll", "refused", "regrouped", "two_sample"]
