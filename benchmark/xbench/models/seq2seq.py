"""Any encoder-decoder of transformers as a `SpeechModel`, out of the few functions in which families differ.

A family is a record of pure functions over the loaded network (`xbench.models.family`); this module does what all of
them share: beam search from a stated prompt, teacher forcing, masking of encoder frames, capture, re-initialisation.

An utterance is never padded: its features are as long as its audio, and a batch holds perturbed copies of one
utterance only. So nothing here depends on how a network treats padding. The network's own treatment of it is seen in
`own_forward` alone, which tests compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationMixin

from xbench.errors import UsageError
from xbench.models.capture import Stack, captured_trace
from xbench.models.family import Family, token_ids
from xbench.models.loading import Location
from xbench.models.opening import FamilyModel, check_features, open_checkpoint, stated
from xbench.models.protocol import (
    Features,
    Hypothesis,
    Keep,
    MaskedLogits,
    layout,
)
from xbench.models.text import (
    decoder_input,
    predicting,
    read_hypothesis,
)
from xbench.spec import Decoding
from xbench.trace import Trace


@dataclass(frozen=True, eq=False)  # a model equals only itself
class Seq2SeqModel(FamilyModel[Family]):
    """A loaded checkpoint; see `xbench.models.protocol.SpeechModel` for every method."""

    # -- text ---------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(
        self, features: Features, source: str, target: str | None, decoding: Decoding
    ) -> Hypothesis:
        """Write a hypothesis by beam search, from the prompt of this language and task."""
        self.check_language(source, target)
        prompt = self.family.prompt(self.loaded, source, target)
        room = self.family.positions(self.network) - len(prompt)
        generated = GenerationMixin.generate(
            self.network,
            **self._own_inputs([features.valid]),
            decoder_input_ids=torch.tensor([prompt], device=self.network.device),
            decoder_start_token_id=prompt[0],
            do_sample=False,
            # A forced token is not predicted by the model, so there would be nothing to explain. A forced first
            # token is part of our prompt, and a hypothesis without room for end-of-text counts as truncated.
            forced_bos_token_id=None,
            forced_eos_token_id=None,
            num_beams=decoding.beams,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            max_new_tokens=min(room, decoding.max_tokens or room),
            return_dict_in_generate=True,
        )
        sequence = tuple(generated["sequences"][0].tolist())
        if sequence[: len(prompt)] != prompt:
            raise UsageError(
                f"model '{self.info.name}': generation starts with {sequence[: len(prompt)]}, not with "
                f"the prompt {prompt}; its generation_config.json does not fit its tokenizer"
            )
        special, ends = frozenset(self.tokenizer.all_special_ids), self._ends()
        return read_hypothesis(
            self.tokenizer,
            prompt,
            sequence[len(prompt) :],
            ends,
            lambda token: token not in special and token not in ends,
        )

    def _ends(self) -> frozenset[int]:
        return token_ids(self.network.generation_config.eos_token_id)

    # -- network ------------------------------------------------------------------------------

    def encode(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch frame dim"]:
        """Run the encoder."""
        return self.family.encode(self.loaded, values.to(self.network.dtype))

    def logits(
        self, encoded: Float[Tensor, "batch frame dim"], hypothesis: Hypothesis
    ) -> Float[Tensor, "batch token vocab"]:
        """Run the decoder on prompt + tokens[:-1]; only rows that predict tokens meet the vocabulary."""
        ids = decoder_input(hypothesis, self.network.device).expand(len(encoded), -1)
        states = self.family.decode(self.network, ids, encoded)
        return self.family.read_out(self.network, predicting(states, hypothesis))

    def frame_masking(
        self, encoded: Float[Tensor, "1 frame dim"], hypothesis: Hypothesis
    ) -> MaskedLogits:
        """Multiply the encoder output by each mask and run the whole decoder, which is right for every network."""

        def masked_logits(keep: Keep) -> Float[Tensor, "batch token vocab"]:
            return self.logits(encoded * keep.to(encoded.dtype)[..., None], hypothesis)

        return masked_logits

    def trace(self, features: Features, hypothesis: Hypothesis, needs: Set[str]) -> Trace:
        """Read queries, keys and values by hooks and rebuild the attention, whichever kernel computed it."""
        with torch.inference_mode():
            return captured_trace(
                self.attention_stacks(),
                lambda: self.logits(self.encode(features.values[None]), hypothesis),
                layout(features, hypothesis),
                len(hypothesis.prompt),
                needs,
            )

    # -- beyond the protocol ------------------------------------------------------------------

    def attention_stacks(self) -> Mapping[str, Stack]:
        """Say where the attention is that can be rebuilt from queries and keys."""
        return self.family.stacks(self.network)

    def own_forward(
        self, inputs: Sequence[Float[Tensor, "_ mel"]], ids: Int[Tensor, "batch position"]
    ) -> Float[Tensor, "batch position vocab"]:
        """Run the network's own forward pass, shorter inputs padded with zeros and masked."""
        logits: Tensor = self.network(**self._own_inputs(inputs), decoder_input_ids=ids).logits
        return logits

    def _own_inputs(self, inputs: Sequence[Float[Tensor, "_ mel"]]) -> dict[str, Any]:
        lengths = torch.tensor([len(values) for values in inputs], device=self.network.device)
        padded = torch.nn.utils.rnn.pad_sequence(list(inputs), batch_first=True)
        return self.family.inputs(self.loaded, padded.to(self.network.dtype), lengths)


def load_family(
    family: Family,
    location: Location,
    *,
    device: str,
    precision: str,
    trust_remote_code: bool,
) -> Seq2SeqModel:
    """Load a checkpoint of an encoder-decoder from a folder or the hub."""
    opened = open_checkpoint(
        family,
        location,
        device=device,
        precision=precision,
        trust_remote_code=trust_remote_code,
    )
    stacks = family.stacks(opened.loaded.network)
    info = stated(
        family,
        opened,
        decoder_layers=len(stacks["cross"].modules),
        heads=stacks["cross"].heads,
        lacking={
            f"{stack}-{capture}": why
            for stack, why in family.lacking.items()
            for capture in ("attention", "projections")
            if stack not in stacks
        },
        precision=precision,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    model = Seq2SeqModel(family=family, loaded=opened.loaded, info=info)
    check_features(model)
    return model
