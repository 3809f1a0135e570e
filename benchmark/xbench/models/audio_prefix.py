"""Decoder-only models that read audio as a prefix of their text, as `SpeechModel`s, from a record per family.

    [ text before the audio | audio positions | text after it, a request | hypothesis ]

An audio encoder and a projector make vectors as wide as the model's text embeddings; these stand where the prompt has
audio tokens, and one stack of causal self-attention mixes everything. So the audio positions are what `encode` returns,
what a map is about, and what a mask hides. The prompt of a hypothesis holds one audio token per position, and nothing
else says where the audio is: tokens that the model wrote are never taken for audio.

All layers mix the audio anew, so nothing behind its first position can be shared between masks. What stands before it
can: its keys and values are computed once, and every mask of a batch reads the same memory.

A hidden position may be zeroed. Then it still stands there, and its residual stream fills up with what it reads from
the left. Or its key may be removed in all layers: then nothing reads it, itself included.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, GenerationMixin

from xbench.errors import Unsupported, UsageError, UtteranceError
from xbench.models.capture import Stack, captured_trace
from xbench.models.family import PrefixFamily, token_ids
from xbench.models.opening import FamilyModel
from xbench.models.private import cache_keyword
from xbench.models.protocol import (
    AudioReading,
    Features,
    Hypothesis,
    Keep,
    MaskedLogits,
    layout,
)
from xbench.models.rotary import self_attention
from xbench.models.text import decoder_input, read_hypothesis
from xbench.spec import Decoding
from xbench.trace import Trace

# A language model has room for texts of hours: what no other limit ends, as loops are, ends at so many tokens more than
# there are audio positions.
_MOST_TOKENS = 448


@dataclass(frozen=True, eq=False)  # a model equals only itself
class AudioPrefixModel(FamilyModel[PrefixFamily]):
    """A loaded checkpoint; see `xbench.models.protocol.SpeechModel` for every method."""

    # -- text ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Write a hypothesis by beam search, after the prompt of this language and task."""
        self.check_language(source, target)
        positions = self.family.audio(self.loaded).frames(len(features.values))
        prompt = self.family.prompt(self.loaded, source, target, positions)
        room = self.network.config.get_text_config().max_position_embeddings - len(prompt)
        if room < 1:
            raise UtteranceError(
                "too-long",
                f"the audio and its prompt are {len(prompt)} positions long, and model '{self.info.name}' reads "
                f"{room + len(prompt)} with the text that it writes",
            )
        ids = torch.tensor(prompt, device=self.network.device)
        embedded = self._between(self.encode(features.values[None]), ids, self._span(prompt))
        attended = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
        with warnings.catch_warnings():
            # It tells that n-grams are counted in what is written alone, which is what is wanted here.
            warnings.filterwarnings("ignore", message="Passing `no_repeat_ngram_size`")
            generated = GenerationMixin.generate(
                self.network,
                inputs_embeds=embedded,
                attention_mask=attended,
                do_sample=False,
                num_beams=decoding.beams,
                no_repeat_ngram_size=decoding.no_repeat_ngram,
                max_new_tokens=min(room, decoding.max_tokens or _MOST_TOKENS + positions),
                return_dict_in_generate=True,
            )
        tokens = generated["sequences"][0].tolist()
        special, ends = frozenset(self.tokenizer.all_special_ids), self._ends()
        hypothesis = read_hypothesis(
            self.tokenizer,
            prompt,
            tokens,
            ends,
            lambda token: token not in special and token not in ends,
        )
        if self.family.audio_token(self.loaded) in hypothesis.tokens:
            raise UtteranceError(
                "prompt-repeated",
                f"model '{self.info.name}' wrote its own audio token: it repeats the prompt, and no text of it can be "
                "explained",
            )
        return hypothesis

    def _ends(self) -> frozenset[int]:
        for settings in (self.network.generation_config, self.network.config.get_text_config()):
            if ends := token_ids(getattr(settings, "eos_token_id", None)):
                return ends
        return token_ids(self.tokenizer.eos_token_id)

    # -- network ------------------------------------------------------------------------------

    def encode(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Run audio encoder and projector: what stands at the audio positions."""
        return self.family.embed(self.loaded, values.to(self.network.dtype))

    def logits(
        self, encoded: Float[Tensor, "batch frame dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        """Read prompt + tokens[:-1]; only positions that predict tokens meet the vocabulary."""
        ids = decoder_input(hypothesis, self.network.device)
        embedded = self._between(encoded, ids, self.audio_positions(hypothesis))
        return self._read_out(self._states(embedded), hypothesis)

    def audio_positions(self, hypothesis: Hypothesis) -> slice:
        """Return where the audio stands in the prompt."""
        return self._span(hypothesis.prompt)

    def _span(self, prompt: Sequence[int]) -> slice:
        return audio_span(prompt, self.family.audio_token(self.loaded), self.info.name)

    def _text(self, ids: Int[Tensor, " position"]) -> Float[Tensor, "1 position dim"]:
        """Return the embeddings of text; audio tokens, which may lie outside of the vocabulary, count as token 0."""
        known = ids.masked_fill(ids == self.family.audio_token(self.loaded), 0)
        embedded: Tensor = self.network.get_input_embeddings()(known[None])
        return embedded

    def _between(
        self,
        encoded: Float[Tensor, "batch frame dim"],
        ids: Int[Tensor, " position"],
        span: slice,
    ) -> Float[Tensor, "batch position dim"]:
        """Put audio between the embeddings of the text before and after it."""
        self._check_length(encoded, span)
        text = self._text(ids).expand(len(encoded), -1, -1)
        parts = [text[:, : span.start], encoded.to(text.dtype), text[:, span.stop :]]
        return torch.cat(parts, 1)

    def _check_length(self, encoded: Float[Tensor, "batch frame dim"], span: slice) -> None:
        if encoded.shape[1] != span.stop - span.start:
            raise Unsupported(
                f"model '{self.info.name}': the prompt has room for {span.stop - span.start} audio positions, and this "
                f"audio has {encoded.shape[1]}; a hypothesis belongs to the clip that it was written for"
            )

    def _states(
        self, embedded: Float[Tensor, "batch position dim"], **options: Any
    ) -> Float[Tensor, "batch position dim"]:
        states: Tensor = language_model(self.network)(
            inputs_embeds=embedded, **{"use_cache": False, **options}
        ).last_hidden_state
        return states

    def _read_out(
        self, states: Float[Tensor, "batch position dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        logits: Tensor = self.network.lm_head(states[:, -len(hypothesis.tokens) :])
        return logits

    def frame_masking(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Multiply what stands at the audio positions by each mask; what stands before them is read once."""
        reading = self.audio_reading(hypothesis)

        def masked_logits(keep: Keep) -> Float[Tensor, "batch token vocab"]:
            return reading(encoded * keep.to(encoded.dtype)[..., None], None)

        return masked_logits

    def audio_reading(self, hypothesis: Hypothesis) -> AudioReading:
        """Read what stands before the audio; see `models.optional.ReadsPrefix`."""
        ids = decoder_input(hypothesis, self.network.device)
        span = self.audio_positions(hypothesis)
        keyword = cache_keyword(language_model(self.network))
        text = self._text(ids)
        shared = DynamicCache()
        if span.start:
            self._states(text[:, : span.start], use_cache=True, **{keyword: shared})

        def reading(
            audio: Float[Tensor, "batch frame dim"], keys: Bool[Tensor, "batch frame"] | None
        ) -> Float[Tensor, "batch token vocab"]:
            self._check_length(audio, span)
            batch = len(audio)
            cache = for_batch(shared, batch)
            after = text[:, span.stop :].expand(batch, -1, -1)
            embedded = torch.cat([audio.to(after.dtype), after], 1)
            options = {} if keys is None else {"attention_mask": self._attended(keys, hypothesis)}
            states = self._states(embedded, use_cache=True, **{keyword: cache}, **options)
            return self._read_out(states, hypothesis)

        return reading

    def logits_without_keys(
        self,
        encoded: Float[Tensor, "batch frame dim"],
        keys: Bool[Tensor, "batch frame"],
        hypothesis: Hypothesis,
    ) -> Float[Tensor, "batch token vocab"]:
        """Compute what a reading without keys does by whole passes, which share nothing."""
        ids = decoder_input(hypothesis, self.network.device)
        embedded = self._between(encoded, ids, self.audio_positions(hypothesis))
        mask = self._attended(keys, hypothesis)
        return self._read_out(self._states(embedded, attention_mask=mask), hypothesis)

    def _attended(
        self, keys: Bool[Tensor, "batch frame"], hypothesis: Hypothesis
    ) -> Int[Tensor, "batch position"]:
        """Return 1 for every position of prompt + tokens[:-1] whose key stays."""
        span = self.audio_positions(hypothesis)
        if span.start == 0:
            raise Unsupported(
                f"nothing stands before the audio of model '{self.info.name}', so a first position without its own key "
                "would attend to nothing; take another neutral value"
            )
        length = len(hypothesis.prompt) + len(hypothesis.tokens) - 1
        mask = torch.ones(len(keys), length, dtype=torch.long, device=keys.device)
        mask[:, span] = keys.long()
        return mask

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Read queries, keys and values by hooks and rebuild the attention to the audio positions."""
        with torch.inference_mode():
            return captured_trace(
                self.attention_stacks(),
                lambda: self.logits(self.encode(features.values[None]), hypothesis),
                layout(features, hypothesis),
                len(hypothesis.prompt),
                needs,
                self.audio_positions(hypothesis),
            )

    # -- beyond the protocol ------------------------------------------------------------------

    def attention_stacks(self) -> Mapping[str, Stack]:
        """Say where the attention is that can be rebuilt from queries and keys: "self"."""
        return {"self": self_attention(language_model(self.network))}

    def own_forward(
        self, inputs: Sequence[Float[Tensor, "_ mel"]], ids: Int[Tensor, "batch position"]
    ) -> Float[Tensor, "batch position vocab"]:
        """Run the network's own forward pass, audio tokens in its ids, as many positions as the ids have.

        Each row gets as many audio tokens as its input has positions; shorter rows are padded at their end.
        """
        token, frames = self.family.audio_token(self.loaded), self.family.audio(self.loaded).frames
        rows = []
        for values, row in zip(inputs, ids, strict=True):
            span = self._span(row.tolist())
            audio = torch.full((frames(len(values)),), token, device=ids.device)
            rows.append(torch.cat([row[: span.start], audio, row[span.stop :]]))
        lengths = torch.tensor([len(values) for values in inputs], device=ids.device)
        padded = torch.nn.utils.rnn.pad_sequence(list(inputs), batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], True)
        logits: Tensor = self.network(
            input_ids=torch.nn.utils.rnn.pad_sequence(rows, True),
            attention_mask=mask,
            **self.family.inputs(self.loaded, padded.to(self.network.dtype), lengths),
        ).logits
        return logits[:, : ids.shape[1]]


def for_batch(shared: DynamicCache, batch: int) -> DynamicCache:
    """Return a cache in which every row of a batch has the keys and values of the one row of another.

    They are views of one memory. A layer joins them with its new keys, and only the cache that is returned then grows.
    """
    cache = copy.copy(shared)
    cache.layers = [copy.copy(layer) for layer in shared.layers]
    for layer in cache.layers:
        layer.keys = layer.keys.expand(batch, -1, -1, -1)
        layer.values = layer.values.expand(batch, -1, -1, -1)
    return cache


def language_model(network: Any) -> Any:
    """Return the stack that mixes text and audio, from embeddings to last states.

    In some networks it holds the audio encoder, in most both stand side by side.
    """
    return getattr(network.model, "language_model", network.model)


def audio_span(prompt: Sequence[int], audio_token: int, name: str) -> slice:
    """Return where the audio stands in a prompt: its first and, exclusively, last position.

    Raises UsageError where the prompt has no audio token, or has several clips.
    """
    at = [position for position, token in enumerate(prompt) if token == audio_token]
    if not at:
        raise UsageError(
            f"model '{name}': its prompt has no audio token ({audio_token}): its chat template has no slot for audio; "
            "take the chat template of the checkpoint that it was fine-tuned from"
        )
    if at[-1] - at[0] + 1 != len(at):
        raise UsageError(
            f"model '{name}': its prompt has audio in several places; a map is about one clip, so give one"
        )
    return slice(at[0], at[-1] + 1)
