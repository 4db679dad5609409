"""TensorFlow Datasets builder `maze_traces`; TensorFlow itself is not needed."""
