"""The Whisper family: log-mel spectrogram, convolutional stride 2, learned positions, no encoder mask.

Source: Radford et al. 2023 (arXiv 2212.04356) in the implementation of transformers. Encoder frame j is
centred on mel frame 2j. The window is fixed, padding is real input to the encoder: `Features` says
how many frames carry audio, and maps are cropped to these.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from xbench.errors import UsageError, UtteranceError, XbenchError
from xbench.models.capture import Stack, captured_trace
from xbench.models.derived import reinitialised
from xbench.models.families import bart
from xbench.models.families.whisper_beams import shared_by_beams
from xbench.models.families.whisper_passes import (
    cross_attention_to_states,
    encoder_over_padding,
    states_over_frozen_padding,
)
from xbench.models.families.whisper_tokens import text_tokens
from xbench.models.family import token_ids
from xbench.models.masked_attention import NAME as MASKED_FRAMES
from xbench.models.masked_attention import cross_cache, projected_once
from xbench.models.private import attention_name
from xbench.models.protocol import (
    Features,
    Hypothesis,
    Keep,
    MaskedLogits,
    ModelInfo,
    ValidLogits,
    layout,
)
from xbench.models.text import check_source, decoder_input, predicting, read_hypothesis
from xbench.spec import Decoding
from xbench.trace import Trace

STRIDE = 2  # the second input convolution
_OF_ENCODER = {
    "encoder-attention",
    "encoder-projections",
}  # needs for which the encoder must be captured at work


@dataclass(frozen=True, eq=False)  # a model equals only itself
class WhisperModel:
    """A loaded Whisper checkpoint; see `xbench.models.protocol.SpeechModel` for every method."""

    network: Any
    extractor: Any
    tokenizer: Any
    info: ModelInfo

    # -- text ---------------------------------------------------------------------------------

    @cached_property
    def _text_tokens(self) -> frozenset[int]:
        return text_tokens(self.tokenizer)

    def check_language(self, source: str, target: str | None) -> None:
        """Refuse languages without a language token, and any translation but into English."""
        languages = getattr(self.network.generation_config, "lang_to_id", None)
        known = [token.strip("<|>") for token in languages] if languages else ["en"]
        check_source(self.info.name, source, known)
        if target is not None and (target != "en" or not languages):
            raise UtteranceError(
                "unsupported-language",
                f"model '{self.info.name}' cannot translate into '{target}'"
                + ("; it translates into English only" if languages else ": it is monolingual"),
            )

    def _prompt(self, source: str, target: str | None) -> tuple[int, ...]:
        config = self.network.generation_config
        start, end = config.decoder_start_token_id, config.no_timestamps_token_id
        languages = getattr(config, "lang_to_id", None)
        if not languages:
            return (start, end)
        task = "transcribe" if target is None else "translate"
        return (start, languages[f"<|{source}|>"], config.task_to_id[task], end)

    @torch.inference_mode()
    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Beam search over the fixed window, without timestamps."""
        encoded = self.encode(features.values[None])
        self._heard[:] = [(features.values, encoded)]
        sequence = self._search(
            source,
            target,
            decoding,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            **shared_by_beams(self.network.model.decoder, encoded),
        )[0]
        prompt = self._prompt(source, target)
        return self._hypothesis(prompt, sequence[len(prompt) :])

    @torch.inference_mode()
    def decode_encoded(
        self,
        encoded: Float[Tensor, "batch frame dim"],
        source: str,
        target: str | None,
        decoding: Decoding,
    ) -> list[str]:
        """Beam search over a batch of encoder outputs."""
        outputs = BaseModelOutput(last_hidden_state=encoded.to(self.network.dtype))
        prompt = len(self._prompt(source, target))
        found = self._search(source, target, decoding, encoder_outputs=outputs)
        return [self._hypothesis((), sequence[prompt:]).text for sequence in found]

    def _search(
        self, source: str, target: str | None, decoding: Decoding, **given: Any
    ) -> list[tuple[int, ...]]:
        """Return the best sequence of every input, prompt included."""
        self.check_language(source, target)
        prompt = self._prompt(source, target)
        room = self.network.config.max_target_positions - len(prompt)
        limit = min(room, decoding.max_tokens or room)
        multilingual = {}
        if len(prompt) > 2:
            task = "transcribe" if target is None else "translate"
            multilingual = {"language": source, "task": task}
        output = self.network.generate(
            **given,
            num_beams=decoding.beams,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            max_new_tokens=limit,
            return_timestamps=False,
            return_dict_in_generate=True,
            # One search over the window: after a time stamp, transformers would go on with the rest of the window and
            # return what it writes there only.
            force_unique_generate_call=True,
            **multilingual,
        )
        sequences = [tuple(sequence) for sequence in output["sequences"].tolist()]
        for sequence in sequences:
            if sequence[: len(prompt)] != prompt:
                raise UsageError(
                    f"model '{self.info.name}': generation starts with {sequence[: len(prompt)]}, not with "
                    f"the prompt {prompt}; its generation_config.json does not fit its tokenizer"
                )
        return sequences

    def _hypothesis(self, prompt: tuple[int, ...], generated: tuple[int, ...]) -> Hypothesis:
        ends = token_ids(self.network.generation_config.eos_token_id)
        return read_hypothesis(
            self.tokenizer, prompt, generated, ends, lambda token: token in self._text_tokens
        )

    def written(self, tokens: Sequence[int]) -> str:
        """Return what these tokens write together."""
        text: str = self.tokenizer.decode(list(tokens))
        return text

    # -- audio --------------------------------------------------------------------------------

    def features(self, audio: Float32[np.ndarray, " sample"]) -> Features:
        """Log-mel spectrogram; mel frame t is valid when its centre, sample 160 t, lies in the audio."""
        if len(audio) > self.info.max_samples:
            rate = self.info.sampling_rate
            raise UtteranceError(
                "too-long",
                f"{len(audio) / rate:.2f} s is longer than the {self.info.max_samples / rate:g} s "
                f"window of model '{self.info.name}'",
            )
        hop = self.extractor.hop_length
        padded = self.extractor(
            audio, sampling_rate=self.info.sampling_rate, return_tensors="pt"
        ).input_features[0]
        melframes = -(-len(audio) // hop)
        return Features(
            values=padded.T.contiguous().to(self.network.device),
            melframes=melframes,
            frames=-(-melframes // STRIDE),
            stride=STRIDE,
            melframe_seconds=hop / self.info.sampling_rate,
        )

    @cached_property
    def _heard(self) -> list[tuple[Tensor, Tensor]]:
        """What was decoded last and what the encoder made of it, for the one trace that may follow; else empty.

        One clip that is decoded and traced in a row then passes the encoder once.
        """
        return []

    # -- network ------------------------------------------------------------------------------

    def encode(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Run the encoder."""
        inputs = values.transpose(1, 2).to(self.network.dtype)
        states: Tensor = self.network.model.encoder(inputs).last_hidden_state
        return states

    def logits(
        self, encoded: Float[Tensor, "batch frame dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        """Run the decoder on prompt + tokens[:-1]; only rows that predict tokens meet the vocabulary."""
        ids = decoder_input(hypothesis, self.network.device).expand(len(encoded), -1)
        states = self.network.model.decoder(
            input_ids=ids, encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
        return self._read_out(states, hypothesis)

    def frame_masking(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Project keys and values once; every batch of masks shares them (`masked_attention`)."""
        return self._over_frames(encoded, hypothesis, removed=False)

    def frame_removal(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Take keys out of the softmax by a mask (`masked_attention`, `models.optional.RemovesFrames`)."""
        return self._over_frames(encoded, hypothesis, removed=True)

    def _over_frames(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis, *, removed: bool
    ) -> MaskedLogits:
        decoder = self.network.model.decoder
        found = attention_name(decoder.config)
        if found != MASKED_FRAMES:
            # Another attention function would ignore the masks and explain nothing, silently.
            raise XbenchError(
                f"model '{self.info.name}': its attention was switched to '{found}' after loading; "
                "load it again"
            )
        projected = cross_cache([layer.encoder_attn for layer in decoder.layers], encoded)
        ids = decoder_input(hypothesis, self.network.device)

        def masked_logits(keep: Keep) -> Float[Tensor, "batch token vocab"]:
            states = decoder(
                input_ids=ids.expand(len(keep), -1),
                encoder_hidden_states=encoded,
                **projected_once(decoder, projected),
                use_cache=True,
                frame_keep=keep,
                frame_removed=removed,
            ).last_hidden_state
            return self._read_out(states, hypothesis)

        return masked_logits

    def input_masking(
        self, features: Features, hypothesis: Hypothesis, dtype: torch.dtype
    ) -> ValidLogits:
        """Share what the padding alone decides, and what the cross-attention would project per mask."""
        encode = encoder_over_padding(self.network, features, dtype)
        read = cross_attention_to_states(self.network, hypothesis, dtype)

        def masked_logits(
            values: Float[Tensor, "batch validmelframe mel"],
        ) -> Float[Tensor, "batch token vocab"]:
            return self._read_out(read(encode(values)), hypothesis)

        return masked_logits

    def frozen_padding(self, features: Features, hypothesis: Hypothesis) -> ValidLogits:
        """Keep the padding's keys and values of every layer (`models.optional.FreezesPadding`)."""
        states = states_over_frozen_padding(self.network, features, hypothesis)
        return lambda values: self._read_out(states(values), hypothesis)

    def with_network(self, network: Any) -> WhisperModel:
        """Return the same model around another network."""
        return replace(self, network=network)

    def randomised(self, seed: int) -> WhisperModel:
        """Initialise the architecture anew, as transformers does before training."""
        return self.with_network(reinitialised(self.network, seed))

    def partly_randomised(self, seed: int, decoder_layers: int) -> WhisperModel:
        """Take the uppermost decoder layers and the last LayerNorm from the model that is initialised anew.

        The output projection keeps its weights, since they are those of the input embedding as well.
        """
        network: Any = copy.deepcopy(self.network)
        other: Any = reinitialised(self.network, seed)
        decoder, anew = network.model.decoder, other.model.decoder
        first = len(decoder.layers) - decoder_layers
        for layer, drawn in zip(decoder.layers[first:], anew.layers[first:], strict=True):
            layer.load_state_dict(drawn.state_dict())
        decoder.layer_norm.load_state_dict(anew.layer_norm.state_dict())
        return self.with_network(network)

    def _read_out(
        self, states: Float[Tensor, "batch position dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        logits: Tensor = self.network.proj_out(predicting(states, hypothesis))
        return logits

    @torch.inference_mode()
    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Read queries, keys and values by hooks and rebuild the attention, whichever kernel computed it."""
        heard = self._heard.pop() if self._heard else None

        def run() -> None:
            known = heard and not needs & _OF_ENCODER and torch.equal(heard[0], features.values)
            encoded = heard[1] if heard and known else self.encode(features.values[None])
            self.logits(encoded, hypothesis)

        return captured_trace(
            self.attention_stacks(),
            run,
            layout(features, hypothesis),
            len(hypothesis.prompt),
            needs,
        )

    def attention_stacks(self) -> dict[str, Stack]:
        """Say where all attention is."""
        return bart.stacks(self.network.model)

    def own_forward(
        self,
        inputs: Sequence[Float[Tensor, "_ mel"]],
        ids: Int[Tensor, "batch position"],
    ) -> Float[Tensor, "batch position vocab"]:
        """Run the network's own forward pass; inputs fill the window, so there is nothing to pad."""
        spectrograms = torch.stack([values.T for values in inputs]).to(self.network.dtype)
        logits: Tensor = self.network(spectrograms, decoder_input_ids=ids).logits
        return logits
