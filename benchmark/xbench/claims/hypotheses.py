"""The quality of the hypotheses, computed again from their texts where the clips are on this machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from xbench.claims.compared import INTERVAL_TOLERANCE, differing, said
from xbench.claims.origin import known_clips
from xbench.metrics.quality import corpus_quality, utterance_quality
from xbench.results import RunResult
from xbench.spec import Quality


def hypothesis_problems(result: RunResult) -> Iterator[str]:
    """Yield the first quality that is not that of its hypothesis, and a corpus value that is not that of all.

    Other versions of the libraries that count words may round otherwise: hence the tolerance.
    """
    clips = known_clips(result)
    if clips is None:
        return
    by_id = {utterance.id: utterance for utterance in clips.utterances}
    columns, language = result.utterances, result.task.target_language
    quality = Quality(result.quality.metric, result.quality.poor_threshold)  # type: ignore[arg-type]  # the schema allows no other
    judged = []
    for row, id_ in enumerate(columns.get("id", ())):
        clip = by_id.get(id_)
        if clip is None:  # told as an id of no clip
            return
        text, target = columns["hypothesis"][row], clip.target_text(language)
        stated, own = columns[quality.metric][row], None
        if target is not None:
            judged.append((text, target, language or clip.language))
            own = utterance_quality(quality, *judged[-1])
        if any(differing("", stated, own, INTERVAL_TOLERANCE)):
            yield (
                f"utterances.{quality.metric}[{row}]: {said(stated)}, but its hypothesis and the text of clip "
                f"'{id_}' give {said(own)}"
            )
            return
    value = _corpus(quality, tuple(judged))
    if any(differing("", result.quality.value, value, INTERVAL_TOLERANCE)):
        yield (
            f"quality.value: {said(result.quality.value)}, but all hypotheses and the texts of the clips give "
            f"{said(value)}"
        )


@functools.lru_cache(maxsize=64)
def _corpus(quality: Quality, judged: tuple[tuple[str, str, str], ...]) -> float | None:
    """Return the quality of hypotheses with their targets and languages; every method of a run has the same."""
    return corpus_quality(quality, *zip(*judged, strict=True)) if judged else None
