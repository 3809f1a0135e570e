"""What the engine asks of a model, and the data that pass between them.

A family implements `SpeechModel`; everything else (references, methods, runner) sees only this, and what a family
offers beyond it through `xbench.models.optional`.
`encode` and `logits` keep gradients, so gradient methods need nothing more; whoever does not
want gradients says so with `torch.inference_mode()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from xbench.maps import Layout
from xbench.spec import Decoding
from xbench.trace import Trace

NO_SPECTROGRAM = (
    "its input is the raw waveform: there are no time-frequency cells to hide or explain"
)

Kind = Literal["encoder-decoder", "audio-prefix"]


@dataclass(frozen=True)
class ModelInfo:
    """Who the model is and how large.

    name: as the user wrote it, without folders. source: `local` or the hub id.
    revision: hub commit, or a hash of the folder's files. max_samples: longest audio it takes.
    alignment_heads: (decoder layer, head) pairs that the checkpoint publishes as the ones that time
        words; empty where it publishes none.
    kind: how its text attends to audio: by cross-attention (`encoder-decoder`), or by self-attention to audio that
        stands before the text (`audio-prefix`).
    spectrogram: its input is a spectrogram; a model of the raw waveform has no time-frequency cells.
    lacking: captures of `xbench.trace` that the family cannot give, with the reason. padding: why the
        network's own padded batches differ from single utterances; empty where they do not. any_language: why
        it takes every spoken language; empty where it refuses those that it does not know. format: that of the
        checkpoint's files, one of the names in `xbench.models.formats.recognised`; empty where there is no file.
        base: source and revision of the checkpoint that an adapter was merged into; empty where there is none.
    """

    name: str
    family: str
    source: str
    revision: str
    architecture: str
    n_parameters: int
    precision: str
    device: str
    sampling_rate: int
    max_samples: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    remote_code: bool = False
    alignment_heads: tuple[tuple[int, int], ...] = ()
    spectrogram: bool = True
    lacking: Mapping[str, str] = field(default_factory=dict)
    padding: str = ""
    any_language: str = ""
    format: str = ""
    base: str = ""
    kind: Kind = "encoder-decoder"


@dataclass(frozen=True)
class Features:
    """Spectrogram of one utterance, padded as the model wants it.

    values: [melframe, mel] on the model's device. A model of the raw waveform has equal pieces of it
    for melframes, and samples for mels (`ModelInfo.spectrogram` is then false). melframes, frames: how
    many of its spectrogram and encoder frames carry audio. stride: melframes per encoder frame, a fraction where frames
    are not evenly spaced. melframe_seconds: hop. The encoder frames of a decoder-only model are its audio positions.
    """

    values: Float[Tensor, "melframe mel"]
    melframes: int
    frames: int
    stride: float
    melframe_seconds: float

    @property
    def valid(self) -> Float[Tensor, "validmelframe mel"]:
        """The part that carries audio."""
        return self.values[: self.melframes]


@dataclass(frozen=True)
class Hypothesis:
    """What the model wrote, stored so that everything later explains the same tokens.

    prompt: forced tokens (start, language, task). tokens: generated ids, end-of-text included;
    row i of every map belongs to tokens[i]. texts: tokens as text. content: indices of the tokens
    that are not special. truncated: the length limit came before end-of-text.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    content: tuple[int, ...]
    text: str
    truncated: bool


def layout(features: Features, hypothesis: Hypothesis) -> Layout:
    """Return the axes that every map of this utterance and hypothesis has."""
    return Layout(
        tokens=hypothesis.tokens,
        texts=hypothesis.texts,
        content=hypothesis.content,
        frames=features.frames,
        melframes=features.melframes,
        stride=features.stride,
        melframe_seconds=features.melframe_seconds,
    )


# Whether each frame is kept or zeroed, or the share of its value that is kept (1: all of it, 0: zeroed).
Keep = Bool[Tensor, "batch frame"] | Float[Tensor, "batch frame"]
MaskedLogits = Callable[[Keep], Float[Tensor, "batch token vocab"]]
# spectrograms [batch, melframe, mel], valid melframes only, to logits [batch, token, vocab]
ValidLogits = Callable[
    [Float[Tensor, "batch validmelframe mel"]], Float[Tensor, "batch token vocab"]
]
# Of a decoder-only model: what stands at the audio positions [batch, frame, dim], and which of them have keys [batch,
# frame] (None: all), to logits [batch, token, vocab]
AudioReading = Callable[
    [Float[Tensor, "batch frame dim"], Bool[Tensor, "batch frame"] | None],
    Float[Tensor, "batch token vocab"],
]


@runtime_checkable
class SpeechModel(Protocol):
    """A speech-to-text model: an encoder and a decoder, or a decoder that reads audio as a prefix of its text."""

    @property
    def info(self) -> ModelInfo:
        """Name, size and limits."""

    def check_language(self, source: str, target: str | None) -> None:
        """Raise UtteranceError `unsupported-language` when the model does not do this.

        target: None for transcription, else the language translated into.
        """

    def features(self, audio: Float32[np.ndarray, " sample"]) -> Features:
        """Compute the padded spectrogram of mono audio at `info.sampling_rate`.

        Raises UtteranceError `too-long` when it does not fit the model's window.
        """

    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Transcribe or translate by beam search."""

    def encode(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Run the encoder on padded spectrograms; padding frames are part of the output.

        Of a decoder-only model: return what stands at the audio positions of its prompt, `dim` as wide as its text.
        """

    def logits(
        self, encoded: Float[Tensor, "batch frame dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        """Teacher-force the hypothesis: row i holds the scores that predict tokens[i]."""

    def frame_masking(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Return a function from keep masks to `logits(encoded * keep)`, free to share all else."""

    def randomised(self, seed: int) -> SpeechModel:
        """Return the same architecture with re-initialised weights."""

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Capture one clean teacher-forced pass; `needs` names captures of `xbench.trace`."""
