"""The small run that audits are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_run import Made, made_in


@pytest.fixture(scope="package")
def made(tiny_whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two methods on six clips, and the store that holds their maps and references."""
    return made_in(tmp_path_factory.mktemp("audit"), f"whisper:{tiny_whisper_folder}")
