"""Where masks come from: each source is a pure function that returns a tree of bool like params."""
