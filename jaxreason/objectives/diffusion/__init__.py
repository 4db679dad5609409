"""Objectives of masked diffusion: losses, likelihoods and policy optimisation."""
