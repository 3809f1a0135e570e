"""What this machine knows of the names in a result: descriptions, tasks, clips."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from typing import Any, TypeVar

from xbench.data.audio import audio_sha256
from xbench.data.datasets import utterances_for
from xbench.data.manifest import Manifest
from xbench.description import CorpusDescription, Description
from xbench.errors import XbenchError
from xbench.inputs import parse_json
from xbench.registry import OURS, Registry, datasets
from xbench.spec import Selection, TaskSpec
from xbench.tasks import resolve_tasks

D = TypeVar("D", bound=Description)


def registered(kind: Registry[D], name: str) -> D | None:
    """Return a registered description; None for a name that nobody registers here, or several do."""
    try:
        return kind.get(name)
    except XbenchError:
        return None


@functools.cache
def own_version() -> str:
    """Return the version of xbench that examines."""
    return version(OURS)


@functools.cache
def packaged_models() -> dict[str, dict[str, Any]]:
    """Return what a result states of the models that come with xbench, by name (a test loads them)."""
    content = resources.files("xbench.claims").joinpath("packaged_models.json").read_bytes()
    models: dict[str, dict[str, Any]] = parse_json(content)
    return models


@functools.cache
def task_here(name: str, preset: str) -> TaskSpec | None:
    """Return the task of this name under this preset, or None where no registered folder has it."""
    if "/" in name or name.endswith(".yaml"):  # a file of somebody's is not what a name stands for
        return None
    try:
        found = resolve_tasks((name,), preset)
    except XbenchError:
        return None
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Clips:
    """The utterances that a selection takes on this machine.

    exact: the fingerprint counts; otherwise the list of clips says nothing of their audio, which is not read.
    """

    manifest: Manifest
    exact: bool


@functools.cache
def clips_here(task: TaskSpec, selection: Selection) -> Clips | None:
    """Return the clips of a task, or None where its dataset is not on this machine."""
    dataset = registered(datasets, task.dataset.name)
    # A corpus may have days of audio; its manifests state what they were made of. Packaged clips are few.
    hashed = None if isinstance(dataset, CorpusDescription) else audio_sha256
    try:
        manifest = utterances_for(task, None, selection, task.dataset.split, hashed)
    except XbenchError:
        return None
    return Clips(manifest, all(u.audio_sha256 for u in manifest.utterances))
