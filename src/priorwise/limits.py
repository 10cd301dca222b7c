"""The largest numbers that a setting takes: beyond them it is a slip, or no machine can do it."""

__all__ = ["LARGEST_COUNT", "LARGEST_LAYER", "LARGEST_SEED", "LARGEST_SET", "LARGEST_TEMPERATURE"]

LARGEST_COUNT = 10**9
"""Of epochs, samples, steps and the like."""
LARGEST_LAYER = 10**6
"""Of units, latents, components and blocks."""
LARGEST_SET = 10**6
"""Of images, draws and pairs that are held in memory together."""
LARGEST_SEED = 2**63 - 1
"""Of a seed, which is at least 0."""
LARGEST_TEMPERATURE = 10**4
"""Of a factor of standard deviations; far beyond it, networks overflow."""
