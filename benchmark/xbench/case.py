"""One utterance as methods and references see it: model, spectrogram, hypothesis, trace."""

from __future__ import annotations

from dataclasses import dataclass

from xbench.data.manifest import Word
from xbench.maps import Layout
from xbench.models.protocol import Features, Hypothesis, SpeechModel, layout
from xbench.trace import Trace


@dataclass(frozen=True)
class Case:
    """What is explained: this model's hypothesis for this audio.

    key: identifies the audio (its SHA-256) wherever random numbers are drawn for it.
    trace: the captured clean pass; None where only references are computed.
    words: when the words of the hypothesis' language were spoken, where the manifest says so; None
        for a translation.
    partner: another traced utterance of another cluster and sentence, for methods that need one.
    """

    model: SpeechModel
    features: Features
    hypothesis: Hypothesis
    key: str
    trace: Trace | None = None
    words: tuple[Word, ...] | None = None
    partner: Case | None = None

    @property
    def layout(self) -> Layout:
        """The axes of every map of this case."""
        return layout(self.features, self.hypothesis)
