"""The samplers that the command offers by name; none of them is imported before it is built."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import priorwise.samplers

__all__ = ["SamplerName", "named_sampler"]


class SamplerName(StrEnum):
    """The names. A new sampler is entered here, and built in ``named_sampler``."""

    default = "default"
    ancestral = "ancestral"
    sir = "sir"
    rejection = "rejection"
    langevin = "langevin"
    mala = "mala"


def named_sampler(
    name: SamplerName,
    *,
    proposals: int = 1000,
    steps: int = 200,
    step_size: float = 0.05,
    temperature: float = 1.0,
) -> "priorwise.samplers.AbstractSampler | None":
    """The sampler of a name, or None for "default", which leaves the choice to the model.

    Each sampler takes the settings that it knows and ignores the others.

    Arguments:
        name: A name of ``SamplerName``.
        proposals: Proposals of SIR for each draw.
        steps: Steps of a chain.
        step_size: Step size of a chain.
        temperature: Factor of the standard deviations of the distribution that is drawn from.
    """
    from priorwise import samplers

    match name:
        case SamplerName.default:
            return None
        case SamplerName.ancestral:
            return samplers.Ancestral(temperature)
        case SamplerName.sir:
            return samplers.SIR(proposals, temperature=temperature)
        case SamplerName.rejection:
            return samplers.Rejection(temperature=temperature)
        case SamplerName.langevin:
            return samplers.Langevin(steps, step_size=step_size, temperature=temperature)
        case SamplerName.mala:
            return samplers.Langevin(
                steps, step_size=step_size, adjusted=True, temperature=temperature
            )
