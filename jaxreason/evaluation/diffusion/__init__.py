"""Judging masked diffusion models, and reports about them."""
