"""Samplers of masked diffusion, over text and over images."""
