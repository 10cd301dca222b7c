"""The prior-hole report."""

from pathlib import Path
from typing import Any


def report(model: Any, data: Any, path: str | Path, **options: Any) -> Path:  # noqa: ANN401
    """Being written."""
    raise NotImplementedError
