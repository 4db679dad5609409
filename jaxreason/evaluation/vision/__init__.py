"""Benchmarks of models that see: official files in, official scores out."""
