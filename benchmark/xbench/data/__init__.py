"""Utterances: manifests, audio decoding and datasets."""
