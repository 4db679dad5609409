"""What an update did to a model: sparsity, overlap, rank, delta files."""
