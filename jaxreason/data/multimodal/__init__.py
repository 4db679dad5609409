"""Data of text and images together."""
