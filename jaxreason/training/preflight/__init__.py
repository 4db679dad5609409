"""What a training run will need, compiled ahead for devices that need not be here."""
