"""What all configurations share."""

from pydantic import BaseModel, ConfigDict

__all__ = ["AbstractConfig"]


class AbstractConfig(BaseModel):
    """A configuration: frozen, with every field validated and unknown fields refused.

    The modules of configurations do not import torch. A ``build`` method imports what it builds, so
    recipes can be listed without torch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
