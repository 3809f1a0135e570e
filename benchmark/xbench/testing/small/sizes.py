"""The sizes that small checkpoints share."""

MELS = 16
WIDTH = 32
