"""Any speech dataset of the Hugging Face hub, streamed; columns are named by parameters.

The audio column is not decoded by `datasets`: the bytes of the file are kept as they are and decoded
like every other clip. The commit that was read stands in every line of the manifest.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xbench.data.corpora.clip import Clip
from xbench.errors import EnvironmentProblem, UsageError, nearest

_HELP = (
    "check the network, or the mirror in HF_ENDPOINT; for a private dataset set HF_TOKEN; offline, "
    "give a local copy as ROOT (a folder with its data files)"
)


def read(
    root: str,
    split: str,
    languages: Sequence[str],
    targets: Sequence[str],
    *,
    config: str = "",
    audio: str = "audio",
    text: str = "transcription",
    translation: str = "",
    cluster: str = "",
    id: str = "",
) -> Iterator[Clip]:
    """Yield the clips of OWNER/NAME[@REVISION], or of a local copy, in the order of the dataset.

    Raises:
        UsageError: no language, a target without a column, or a column that is not there.
        EnvironmentProblem: `datasets` is not installed, or the hub cannot be reached.
    """
    if len(languages) != 1 or len(targets) > 1 or bool(targets) != bool(translation):
        raise UsageError(
            "hub: give one --language, and for translations one --target with its column: "
            "hub:translation=COLUMN"
        )
    name, _, revision = (root, "", "") if Path(root).exists() else root.partition("@")
    datasets = _library()
    source = _source(name, revision)
    rows = _stream(datasets, name, config or None, split, source.partition("@")[2], audio)
    for number in range(2**63):
        row = _next(rows, name)
        if row is None:
            return
        needed = [c for c in (audio, text, translation, cluster, id) if c]
        if missing := [column for column in needed if column not in row]:
            raise UsageError(
                f"hub: {name} has no column '{missing[0]}'{nearest(missing[0], row)}; "
                f"it has {', '.join(row)}"
            )
        yield Clip(
            id=str(row[id]) if id else f"{split}-{number:06d}",
            audio=_bytes(row[audio], name),
            language=languages[0],
            transcript=str(row[text] or ""),
            cluster=str(row[cluster]) if cluster else None,
            translations={targets[0]: str(row[translation] or "")} if targets else {},
            source=source,
        )


def _library() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise EnvironmentProblem(
            "reading the hub needs the package datasets: pip install 'xbench[hub]'"
        ) from None


def _source(name: str, revision: str) -> str:
    """Return NAME@COMMIT; a local copy has no commit and is called by its folder's name."""
    if Path(name).exists():
        return Path(name).name
    try:
        api = importlib.import_module("huggingface_hub").HfApi(
            endpoint=os.environ.get("HF_ENDPOINT")
        )
        return f"{name}@{api.dataset_info(name, revision=revision or None).sha}"
    except Exception as problem:  # noqa: BLE001  # every client raises its own kinds
        raise _unreachable(name, problem) from None


def _stream(
    datasets: Any, name: str, config: str | None, split: str, revision: str, audio: str
) -> Iterator[dict[str, Any]]:
    try:
        rows = datasets.load_dataset(
            name, config, split=split, revision=revision or None, streaming=True
        )
        undecoded = rows.cast_column(audio, datasets.Audio(decode=False))
        # As Arrow tables: plain rows of datasets >= 5 ask for torchcodec even when nothing is decoded.
        tables = undecoded.with_format("arrow")
        return (row for table in tables for row in table.to_pylist())
    except Exception as problem:  # noqa: BLE001  # as above
        raise _unreachable(name, problem) from None


def _next(rows: Iterator[dict[str, Any]], name: str) -> dict[str, Any] | None:
    try:
        return next(rows, None)
    except Exception as problem:  # noqa: BLE001  # as above: the network may go at any row
        raise _unreachable(name, problem) from None


def _unreachable(name: str, problem: Exception) -> EnvironmentProblem:
    reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
    return EnvironmentProblem(f"hub: {name} cannot be read ({reason}); {_HELP}")


def _bytes(value: Any, name: str) -> bytes | Path:
    """Return what an undecoded audio cell holds: the bytes of a file, or its path."""
    if isinstance(value, dict) and value.get("bytes"):
        return bytes(value["bytes"])
    if isinstance(value, dict) and value.get("path"):
        return Path(value["path"])
    raise UsageError(
        f"hub: the audio column of {name} holds no audio; name it with hub:audio=COLUMN"
    )
