"""Explanation methods: one file per family, each method a pure function from trace (or case) to map.

A method returns `[token, frame]` on valid encoder frames, or `[token, melframe, mel]` on the valid
spectrogram, with one row per generated token. Descriptions live in the modules whose name ends in `_catalogue`.
"""
