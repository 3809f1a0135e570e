"""Readers of corpora as they are distributed: one file per corpus, each from root to clips."""
