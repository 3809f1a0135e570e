"""Bundles of single utterances for the site: see `bundles`."""

from __future__ import annotations

from xbench.runner.examples.bundles import Exported, Options, export

__all__ = ["Exported", "Options", "export"]
