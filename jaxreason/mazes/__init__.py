"""mazes."""
