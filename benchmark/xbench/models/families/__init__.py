"""One file per model family, with the data file that lists its registered checkpoints."""
