"""Element-wise update masks as optax transforms; imports JAX and optax only."""
