"""What all configurations share."""

from pydantic import BaseModel, ConfigDict

__all__ = ["AbstractConfig"]


class AbstractConfig(BaseModel):
    """What all configurations share: frozen, every field validated, unknown fields refused.

    Configurations import no network: a ``build`` imports what it builds, so that recipes can be
    listed without torch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
