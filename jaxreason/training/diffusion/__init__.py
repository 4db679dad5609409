"""Training of masked diffusion models and of their image tokenizers."""
