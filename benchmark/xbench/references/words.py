"""SPES over words: all cells of a word are hidden together, and so are those of a gap between words.

The effect is the divergence, as in `xbench.references.spes`; only the segments differ. Frames and superpixels cut
speech without knowing what was said. A word is what a listener would hide, and it is redundant within itself: where
half of its frames are enough to recognise it, hiding single frames shows little. All cells of a word have one
relevance.

It needs the word times of the manifest, of the text that is explained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xbench.case import Case
from xbench.errors import UtteranceError
from xbench.hiding.cells import EncoderFrames, SpectrogramCells
from xbench.hiding.effect import divergence
from xbench.hiding.masks import Design
from xbench.hiding.segments import word_segments
from xbench.references.estimation import Recipe, Sampling
from xbench.references.sampled import SampledReference
from xbench.references.spes import sampled


@torch.inference_mode()
def spes_encoder_words(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
) -> SampledReference:
    """Estimate relevance of words by zeroing all of their encoder frames; cells are [frame].

    Raises UtteranceError `no-word-times`. precision: `float32`, `bfloat16` or `auto` (`hiding.passes`).
    """
    features = case.features
    seconds = features.stride * features.melframe_seconds
    segments = word_segments(_times(case), features.frames, seconds)
    recipe = Recipe(masks, p, estimator, design, until)
    return sampled(EncoderFrames(case), divergence, sampling, recipe, segments, precision)


@torch.inference_mode()
def spes_input_words(
    case: Case,
    sampling: Sampling,
    *,
    masks: int,
    p: float,
    estimator: str = "masked-mean",
    design: Design = "independent",
    until: float | None = None,
    precision: str = "float32",
) -> SampledReference:
    """Estimate relevance of words by hiding all of their spectrogram; cells are [melframe, mel].

    A hidden cell takes its mel channel's mean over the utterance's valid frames. Raises and precision: as
    `spes_encoder_words`.
    """
    melframes, channels = case.features.valid.shape
    segments = word_segments(
        _times(case), melframes, case.features.melframe_seconds, channels=channels
    )
    recipe = Recipe(masks, p, estimator, design, until)
    return sampled(SpectrogramCells(case), divergence, sampling, recipe, segments, precision)


def _times(case: Case) -> Sequence[tuple[float, float]]:
    if case.words is None:
        raise UtteranceError(
            "no-word-times",
            "a reference over words needs the times of the words of this text: the manifest has no 'words' for the "
            "clip, or the text is a translation; take another reference",
        )
    return [(word.start, word.end) for word in case.words]
