"""Networks from observations or latents to features."""

from priorwise.backbones.mlp import LatentClassifier, TwoBranch, gated_body, gated_image_body

__all__ = ["LatentClassifier", "TwoBranch", "gated_body", "gated_image_body"]
