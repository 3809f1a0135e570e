"""What a family of encoder-decoders of transformers says of itself: a record of functions, and its parts.

`xbench.models.seq2seq` makes a `SpeechModel` of such a record and a checkpoint.
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


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: the network, and the processor or its two halves."""

    network: Any
    extractor: Any
    tokenizer: Any
    processor: Any = None


@dataclass(frozen=True)
class Languages:
    """What a checkpoint does: languages it hears, and languages it translates each of them into.

    None: it does not say (one task, no language token), so the user's word is taken.
    """

    spoken: Collection[str] | None
    targets: Callable[[str], Collection[str] | None] = lambda source: ()


@dataclass(frozen=True)
class Audio:
    """How audio becomes the axis that the encoder reads.

    extract: from audio to [melframe, mel]. hop: samples per melframe. stride: melframes per encoder frame.
    frames: from the number of melframes to that of encoder frames. limit: longest audio, in samples.
    """

    extract: Callable[[Loaded, np.ndarray], Tensor]
    hop: int
    stride: int
    frames: Callable[[int], int]
    limit: int


@dataclass(frozen=True)
class Family:
    """In what a family differs from the others; every function is pure.

    encode: spectrograms [batch, melframe, mel] to encoder states. decode: token ids and encoder states to
    the decoder's last states (which must leave both as they are). read_out: those to logits. inputs: what
    the network's own forward is given for padded spectrograms and the number of valid melframes of each.
    stacks: where attention is. positions: how many tokens the decoder has room for. lacking: why a stack
    may be missing. padding: why the network's own padded batches may differ from single utterances.
    remote_code: the network's code comes with the checkpoint.
    """

    name: str
    architecture: str
    processor: str  # of transformers; empty where there is none but its halves
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


def start_token(network: Any) -> int:
    """Return the token that decoding starts with; raise UsageError where the checkpoint names none."""
    for settings in (network.generation_config, network.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            found = getattr(settings, name, None)
            if isinstance(found, int):
                return found
    raise UsageError(
        f"a checkpoint of type '{network.config.model_type}' names no decoder_start_token_id"
    )


def start_prompt(network: Any) -> tuple[int, ...]:
    """Return the start token, and the first token where the checkpoint forces one (a target language)."""
    forced = getattr(network.generation_config, "forced_bos_token_id", None)
    return (start_token(network), *(() if forced is None else (forced,)))


def valid_mask(lengths: Int[Tensor, " batch"], size: int) -> Int[Tensor, "batch {size}"]:
    """Return 1 for the first `lengths` positions of each row, else 0."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).long()
