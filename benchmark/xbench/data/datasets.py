"""Which manifest a task is evaluated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from xbench import registry
from xbench.data.audio import audio_sha256
from xbench.data.manifest import Manifest, NothingSelected, read_manifest
from xbench.data.prepared import prepared_manifest
from xbench.description import CorpusDescription
from xbench.errors import EnvironmentProblem, UsageError, nearest
from xbench.spec import FROM_USER, Dataset, Selection, TaskSpec


def manifest_path(dataset: Dataset, split: str) -> Path:
    """Return the manifest of one split of a registered dataset.

    Raises:
        UsageError: an unknown dataset or split.
        EnvironmentProblem: the dataset's files are not on this machine.
    """
    description = registry.datasets.get(dataset.name)
    if split not in description.splits:
        known = f"{nearest(split, description.splits)}; it has {', '.join(description.splits)}"
        raise UsageError(f"dataset '{dataset.name}' has no split '{split}'{known}")
    if isinstance(description, CorpusDescription):
        prepared = prepared_manifest(description.name, split)
        if not prepared.is_file():
            raise EnvironmentProblem(
                f"dataset '{dataset.name}': its {split} split is not prepared on this machine ({prepared} is not "
                f"there); `xbench data prepare {dataset.name} ROOT --split {split}` makes it, XBENCH_DATA says "
                f"where it lies, `xbench show dataset {dataset.name}` tells where to get it"
            )
        return prepared
    path: Path = description.load()(split)
    if not path.is_file():
        raise EnvironmentProblem(
            f"dataset '{dataset.name}': {path} is not on this machine; "
            f"see `xbench show dataset {dataset.name}` for its source"
        )
    return path


def utterances_for(
    task: TaskSpec,
    data: str | None,
    selection: Selection,
    split: str,
    hashed: Callable[[Path], str] | None = audio_sha256,
) -> Manifest:
    """Return the utterances of `split` that a task is evaluated on.

    `data` replaces the task's own dataset. Clips in other languages than the task's, and for
    translation clips without the target text, are left out. `hashed` as in `read_manifest`.

    Raises:
        NothingSelected: no clip is left.
        UsageError: the task needs --data, or its manifest has no such split.
    """
    if data is not None:
        if split != task.dataset.split:
            # A manifest is one split: fitting on it and testing on it would leak.
            own = task.dataset.split
            raise UsageError(f"task '{task.name}': --data stands for split '{own}', not '{split}'")
        path = Path(data)
    elif task.dataset.name == FROM_USER:
        raise UsageError(f"task '{task.name}' needs --data MANIFEST.jsonl")
    else:
        path = manifest_path(task.dataset, split)
    try:
        manifest = read_manifest(
            path,
            selection=selection,
            languages=task.source_languages,
            target_language=task.target_language,
            hashed=hashed,
        )
    except NothingSelected as problem:
        raise NothingSelected(f"task '{task.name}': {problem}") from None
    return manifest if data is not None else replace(manifest, name=task.dataset.name)
