"""The clips of exported utterances: where they lie, and whether they may be published."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from xbench import bundle, registry
from xbench.data.datasets import manifest_path
from xbench.data.manifest import Utterance, read_manifest
from xbench.data.spectrogram import RATE
from xbench.errors import UsageError
from xbench.runner.examples.runs import Run
from xbench.runner.keys import Job
from xbench.runner.record import RunRecord
from xbench.schemas import InvalidFile
from xbench.spec import Selection


def clips_of(run: Run, jobs: Sequence[Job], data: Path | None) -> dict[str, Utterance]:
    """Return where the clips of these utterances lie, each the very file that was explained."""
    if not jobs:
        return {}
    given = data or (None if run.record.spec.data is None else Path(run.record.spec.data))
    dataset = run.record.task.dataset
    path = given or manifest_path(dataset, dataset.split)
    if not path.is_file():
        raise UsageError(f"{path}: the manifest of the clips is not there; name it with --data")
    try:
        found = read_manifest(path, selection=Selection(tuple(j.utterance.id for j in jobs)))
    except InvalidFile as problem:
        more = f" (and {len(problem.problems) - 1} more)" if problem.problems[1:] else ""
        raise UsageError(f"{path}: {problem.problems[0]}{more}") from None
    clips = {utterance.id: utterance for utterance in found.utterances}
    for job in jobs:
        if clips[job.utterance.id].audio_sha256 != job.utterance.audio_sha256:
            raise UsageError(
                f"{path}: the audio of '{job.utterance.id}' is another file than the one that was explained "
                "(its sha256 differs); name the manifest of the run with --data"
            )
    return clips


def rights(
    record: RunRecord, audio: str, stated: str | None = None, attribution: str | None = None
) -> tuple[str | None, str | None, str | None]:
    """Return licence and source of the clips, and why they are withheld or None.

    Of clips given with --data, whose manifest may bear any name, only who exports them can say it (stated,
    attribution); a registered dataset says it itself.
    """
    named = record.spec.data is None and record.manifest.name in registry.datasets.names()
    description = registry.datasets.get(record.manifest.name) if named else None
    licence = description.licence if description else stated
    source = description.source if description else attribution
    if audio == "none":
        return licence, source, "not-asked-for"
    if licence is None:
        return None, None, "clips-given-with-data"
    return licence, source, None if licence in bundle.PUBLIC_LICENCES else "licence-not-allowed"


def wav(samples: Float[np.ndarray, " sample"]) -> bytes:
    """Return a mono WAV file of 16 bits per sample."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(np.rint(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
