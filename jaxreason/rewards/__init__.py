"""Verifiers as rewards."""
