"""What differs between families of transformers: a record of functions, and its parts.

To add a family of encoder-decoders, fill in a `Family`; `xbench.models.seq2seq` makes a `SpeechModel` out of it and a
checkpoint. Of a decoder-only family fill in a `PrefixFamily`, for `xbench.models.audio_prefix`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xbench.errors import UsageError
from xbench.models.capture import Stack
from xbench.models.text import check_source, check_target


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    extractor: makes features of audio. tokenizer: makes tokens of text. processor: the object of transformers
    that holds both, where the checkpoint has one.
    """

    network: Any
    extractor: Any
    tokenizer: Any
    processor: Any = None


@dataclass(frozen=True)
class Languages:
    """Which languages a checkpoint knows.

    spoken: codes of the languages that it transcribes. targets: from one of these to the languages that it
    translates it into. None: the checkpoint does not say (it has one task and no language token), so whatever
    language the user names is taken.
    """

    spoken: Collection[str] | None
    targets: Callable[[str], Collection[str] | None] = lambda source: ()

    def check(self, name: str, source: str, target: str | None) -> None:
        """Raise UtteranceError `unsupported-language` for what model `name` does not know."""
        if self.spoken is not None:
            check_source(name, source, self.spoken)
        if target is not None and (known := self.targets(source)) is not None:
            check_target(name, source, target, known)


@dataclass(frozen=True)
class Audio:
    """How audio becomes what the encoder reads, and which part of it each encoder frame belongs to.

    extract: from audio to features [melframe, mel] without padding. hop: samples per melframe. stride: melframes
    per encoder frame, a fraction where frames are not evenly spaced. frames: from the number of melframes to the number
    of encoder frames. limit: the longest audio that the model takes, in samples. padded: `extract` pads to a window all
    of which the model attends to.
    """

    extract: Callable[[Loaded, np.ndarray], Tensor]
    hop: int
    stride: float
    frames: Callable[[int], int]
    limit: int
    padded: bool = False


@dataclass(frozen=True)
class Family:
    """In what a family differs from the others; every function is pure.

    name: the `model_type` in the checkpoints' config.json. architecture, processor: the classes of transformers
    that load them; an empty processor means that feature extractor and tokenizer are loaded one by one.
    languages: which languages the checkpoint knows. prompt: the tokens that come before the text, from spoken
    language and target language (None: transcription). audio: how audio becomes features.
    encode: from features [batch, melframe, mel] to encoder output [batch, frame, dim].
    decode: from token ids and encoder output to the decoder's last states; it must change neither of the two.
    read_out: from these states to logits.
    inputs: the arguments of the network's own forward pass, from padded features and their lengths in melframes.
    stacks: where the attention modules are. positions: how many tokens the decoder has room for.
    spectrogram: false where the network reads the raw waveform.
    lacking: from the name of a stack that `stacks` may leave out to the reason.
    padding: why an utterance has other logits in the network's own padded batches than alone; empty if it has not.
    remote_code: the network's code comes with the checkpoint. older_names: how names of weights began when adapters
    were saved by older transformers, and how the same begin now.
    """

    name: str
    architecture: str
    processor: str
    languages: Callable[[Loaded], Languages]
    prompt: Callable[[Loaded, str, str | None], tuple[int, ...]]
    audio: Callable[[Loaded], Audio]
    inputs: Callable[
        [Loaded, Float[Tensor, "batch melframe mel"], Int[Tensor, " batch"]], dict[str, Any]
    ]
    encode: Callable[[Loaded, Float[Tensor, "batch melframe mel"]], Tensor]
    decode: Callable[[Any, Int[Tensor, "batch position"], Tensor], Tensor]
    read_out: Callable[[Any, Tensor], Tensor]
    stacks: Callable[[Any], Mapping[str, Stack]]
    positions: Callable[[Any], int]
    spectrogram: bool = True
    lacking: Mapping[str, str] = field(default_factory=dict)
    padding: str = ""
    remote_code: bool = False
    older_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PrefixFamily:
    """In what a family of decoder-only models that read audio as a prefix differs from the others.

    The members that `Family` has too mean the same. prompt: the tokens before the text, from spoken language, target
    language and the number of audio positions, with that many audio tokens one after the other where the audio stands.
    audio_token: the id of these. embed: from features [batch, melframe, mel] to what stands at the audio positions
    [batch, position, dim]. parts: reads extractor, tokenizer and processor where the classes of transformers cannot,
    from the checkpoint and the arguments of `from_pretrained`.
    """

    name: str
    architecture: str
    processor: str
    languages: Callable[[Loaded], Languages]
    prompt: Callable[[Loaded, str, str | None, int], tuple[int, ...]]
    audio_token: Callable[[Loaded], int]
    audio: Callable[[Loaded], Audio]
    embed: Callable[[Loaded, Float[Tensor, "batch melframe mel"]], Tensor]
    inputs: Callable[
        [Loaded, Float[Tensor, "batch melframe mel"], Int[Tensor, " batch"]], dict[str, Any]
    ]
    spectrogram: bool = True
    padding: str = ""
    remote_code: bool = False
    older_names: Mapping[str, str] = field(default_factory=dict)
    parts: Callable[[str, dict[str, Any]], tuple[Any, Any, Any]] | None = None


def token_ids(stated: int | Collection[int] | None) -> frozenset[int]:
    """Return the tokens that a setting names: one, several (as trainers save them), or none."""
    if stated is None:
        return frozenset()
    return frozenset([stated] if isinstance(stated, int) else stated)


def start_token(network: Any) -> int:
    """Return the token that decoding starts with; raise UsageError where the checkpoint names none."""
    for settings in (network.generation_config, network.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            found = token_ids(getattr(settings, name, None))
            if len(found) == 1:
                return min(found)
    raise UsageError(
        f"a checkpoint of type '{network.config.model_type}' names no decoder_start_token_id"
    )


def start_prompt(network: Any) -> tuple[int, ...]:
    """Return the start token and, where the checkpoint forces one, the first token (often a target language)."""
    forced = token_ids(getattr(network.generation_config, "forced_bos_token_id", None))
    return (start_token(network), *forced)


def valid_mask(lengths: Int[Tensor, " batch"], size: int) -> Int[Tensor, "batch {size}"]:
    """Return 1 for the first `lengths` positions of each row, else 0."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).long()
