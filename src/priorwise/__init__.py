"""Finds the holes in a VAE's prior and fills them."""
