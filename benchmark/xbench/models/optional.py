"""What a model may offer beyond `SpeechModel`, and the one way to ask whether it does: `offers`.

A family may lack any of these. What needs one says so where it is asked for: it does without (frozen padding), or the
result is `unsupported`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xbench.models.capture import Stack
from xbench.models.metered import MeteredModel
from xbench.models.protocol import (
    Features,
    Hypothesis,
    MaskedLogits,
    SpeechModel,
    ValidLogits,
)
from xbench.spec import Decoding

C = TypeVar("C")


def offers(model: object, capability: type[C]) -> TypeGuard[C]:
    """Say whether a model has every member of a protocol; a metered model offers what the model in it does.

    Not `isinstance`: from Python 3.12 on that does not see what a wrapper hands on through `__getattr__`,
    and a `MeteredModel` has `frozen_padding` whether the model in it does or not.
    """
    asked = model.measured if isinstance(model, MeteredModel) else model
    members = {name for base in capability.__mro__ for name in vars(base) if name[0] != "_"}
    return all(getattr(asked, name, None) is not None for name in members)


@runtime_checkable
class WritesEncoded(SpeechModel, Protocol):
    """It writes text from encoder outputs: metrics of what it writes while cells are hidden need this."""

    def decode_encoded(
        self,
        encoded: Float[Tensor, "batch frame dim"],
        source: str,
        target: str | None,
        decoding: Decoding,
    ) -> list[str]:
        """Return what is written for each encoder output, searched as `decode` does, in one batch."""


@runtime_checkable
class WritesTokens(SpeechModel, Protocol):
    """It says what several tokens write together: a character of several bytes may be spread over tokens."""

    def written(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens that follow each other, special tokens as they are."""


@runtime_checkable
class RandomisesParts(SpeechModel, Protocol):
    """It can be re-initialised from the output down: cascades of randomised layers need this."""

    def partly_randomised(self, seed: int, decoder_layers: int) -> SpeechModel:
        """Return the model with its uppermost decoder layers (and its output) re-initialised.

        Equal seeds give equal weights, so that more layers add to fewer.
        """


@runtime_checkable
class MasksInput(SpeechModel, Protocol):
    """It runs passes over hidden spectrogram cells with less work than `encode` and `logits` one after the other."""

    def input_masking(
        self, features: Features, hypothesis: Hypothesis, dtype: torch.dtype
    ) -> ValidLogits:
        """Return a function from other valid cells to `logits(encode(...))`, free to share all else.

        dtype: of products that this function makes itself.
        """


@runtime_checkable
class RemovesFrames(SpeechModel, Protocol):
    """It runs passes without some encoder frames with less work than `logits` of the frames that are left."""

    def frame_removal(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Return a function from boolean keep masks to `logits(encoded[:, keep])`, free to share all else.

        A mask that keeps no frame is that of one frame of zeros.
        """


@runtime_checkable
class FreezesPadding(SpeechModel, Protocol):
    """It pads to a fixed window, and can run perturbed passes that recompute only the frames that carry audio.

    For a short clip most of the window is padding. In these passes it keeps the keys and values of the clean pass,
    in every encoder layer and in the decoder's cross-attention, and only valid frames are queries. This is an
    approximation (in the exact pass, padding frames hear the perturbed audio too), so whoever uses it compares it
    with the exact pass first, per token (`hiding.checks`).
    """

    def frozen_padding(self, features: Features, hypothesis: Hypothesis) -> ValidLogits:
        """Run the clean pass once; return logits of spectrograms against its frozen padding."""


@runtime_checkable
class ShowsAttention(SpeechModel, Protocol):
    """It says which of its modules attend: gradients with respect to attention weights need this."""

    def attention_stacks(self) -> Mapping[str, Stack]:
        """Say where attention is: "cross", and "decoder" and "encoder" where they can be rebuilt."""


@runtime_checkable
class Inspectable(ShowsAttention, Protocol):
    """It shows its network's own forward pass too: `xbench check model` holds `logits` against it."""

    def own_forward(
        self, inputs: Sequence[Float[Tensor, "_ mel"]], ids: Int[Tensor, "batch position"]
    ) -> Float[Tensor, "batch position vocab"]:
        """Run the network's own forward pass on several utterances, padded and masked as it asks for.

        inputs: the valid part of each utterance's `Features` (for a fixed window: all of it).
        """


@runtime_checkable
class ShowsNetwork(SpeechModel, Protocol):
    """Its network is reachable: DeepLIFT hooks the modules of it."""

    @property
    def network(self) -> nn.Module:
        """The network with all its weights."""


@runtime_checkable
class TakesNetwork(ShowsNetwork, Protocol):
    """It works around another network as well: perturbed passes in a lower precision need this (`hiding.twin`)."""

    def with_network(self, network: nn.Module) -> SpeechModel:
        """Return the same model around another network of the same architecture."""
