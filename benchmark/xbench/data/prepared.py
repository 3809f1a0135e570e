"""Where prepared manifests lie; apart from `prepare`, because listing asks for it."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path


def data_folder() -> Path:
    """Return $XBENCH_DATA, or the user's data folder: where prepared corpora lie by name."""
    configured = os.environ.get("XBENCH_DATA")
    return Path(configured) if configured else user_data_path("xbench") / "data"


def prepared_manifest(name: str, split: str) -> Path:
    """Return where the manifest of one split of a corpus lies when it was prepared without --out."""
    return data_folder() / name / f"{split}.jsonl"
