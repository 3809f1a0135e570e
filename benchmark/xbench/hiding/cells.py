"""What can be hidden of an utterance, and what the model then gets to hear.

A cell is the smallest part that can be hidden:

    EncoderFrames      a frame of the encoder output [frame, dim], hidden in all channels at once
    SpectrogramCells   one mel channel of one spectrogram frame [melframe, mel]

Only cells that carry audio can be hidden: the padding of a fixed window stays what it was.

A hidden cell takes a *neutral value*, by name:

    zero            0
    channel-mean    the mean of its channel over the valid frames
    minimum         the smallest value of the utterance: silence, where the scale is logarithmic
    removed         no value: the frame's key is taken out of the decoder's cross-attention (encoder frames only). A
                    zeroed frame still has a key, and takes its part of every softmax; a removed one does not

Both classes have the same members:

    values          the valid cells as they are, [position, channel]
    shape           the shape of one mask
    positions       how many positions one mask sends through the network; decides how many masks fit into a batch
    clean           the pass with nothing hidden
    logits          runs the model on other values of the cells, with gradients
    encoded         the encoder output while cells are hidden; where frames are removed, those that are left
    passes          the fast function from masks to the model's output
    trial_segments  parts of the cells that are large enough to matter when they are hidden, for checks

A mask says for each cell whether it is hidden. It may also hold numbers from 0 to 1: the neutral value then takes
that share of the cell's value; nothing is removed by a share.

Sources: zeroed encoder frames: Papi et al. 2025, arXiv 2509.18010; hidden spectrogram
cells: Fucci et al. 2024, arXiv 2411.01710.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.case import Case
from xbench.hiding.effect import Clean, Hidden, Perturbed
from xbench.hiding.segments import Segmentation, frame_segments, grid_segments
from xbench.models.device import FLOAT32
from xbench.models.optional import FreezesPadding, MasksInput, RemovesFrames, offers
from xbench.models.protocol import Keep, SpeechModel

Space = Literal["input", "encoder"]

_NEUTRAL_WORDS = {
    ("encoder", "zero"): "zero vector",
    ("encoder", "channel-mean"): "mean of each channel over the valid frames",
    ("encoder", "minimum"): "smallest value of the encoder output",
    ("encoder", "removed"): "none: taken out of the cross-attention",
    ("input", "zero"): "zero",
    ("input", "channel-mean"): "mean of each mel channel over the valid frames",
    ("input", "minimum"): "smallest value of the spectrogram",
}


def neutral_value(
    values: Float[Tensor, "position channel"], name: str
) -> Float[Tensor, " channel"]:
    """Return a neutral value: one number per channel."""
    if name == "zero":
        return torch.zeros_like(values[0])
    if name == "minimum":
        return torch.full_like(values[0], values.min().item())
    return values.mean(0)


@dataclass(frozen=True, eq=False)
class EncoderFrames:
    """The frames of the encoder output. The encoder runs once, since hiding happens behind it.

    neutral: the name of the neutral value.
    """

    case: Case
    neutral: str = "zero"
    space: Literal["encoder"] = "encoder"

    @cached_property
    def _output(self) -> Float[Tensor, "1 frame dim"]:
        return _encoded(self.case)

    @property
    def values(self) -> Float[Tensor, "frame dim"]:
        """The valid frames."""
        return self._output[0, : self.case.features.frames]

    @property
    def shape(self) -> tuple[int]:
        """One cell per valid frame."""
        return (self.case.features.frames,)

    @property
    def positions(self) -> int:
        """The positions of the decoder: prompt and hypothesis."""
        return len(self.case.hypothesis.prompt) + len(self.case.hypothesis.tokens)

    @cached_property
    def clean(self) -> Clean:
        """The pass with nothing hidden."""
        return _clean(self.case, self._output)

    def logits(
        self, values: Float[Tensor, "batch frame dim"]
    ) -> Float[Tensor, "batch token vocab"]:
        """Run the decoder on other valid frames, with gradients."""
        padding = self._output[:, self.case.features.frames :].to(values)
        whole = torch.cat([values, padding.expand(len(values), -1, -1)], 1)
        return self.case.model.logits(whole.to(self._output), self.case.hypothesis)

    def encoded(self, hidden: Hidden) -> Float[Tensor, "batch frame dim"]:
        """Return the encoder output with hidden frames at the neutral value.

        Where frames are removed, all masks must leave equally many; where they leave none, it is one frame of zeros.
        """
        if self.neutral == "removed":
            left = self._output[0].expand(len(hidden), -1, -1)[self._keep(hidden)]
            whole = left.view(len(hidden), -1, left.shape[-1])
            return whole if whole.shape[1] else whole.new_zeros(len(hidden), 1, whole.shape[-1])
        keep = self._keep(hidden).to(self._output)[..., None]
        if self.neutral == "zero":
            return self._output * keep
        return torch.lerp(self._neutral, self._output, keep)

    def passes(self, model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        """Return the function from masks to the output; it projects frames once for all masks, where the model can."""
        case = self.case
        if self.neutral == "removed":
            if not offers(model, RemovesFrames):
                return lambda hidden: self._without(model, hidden)
            removing = model.frame_removal(self._output, case.hypothesis)
            return lambda hidden: removing(self._keep(hidden))
        if self.neutral != "zero":
            return lambda hidden: model.logits(self.encoded(hidden), case.hypothesis)
        masked = model.frame_masking(self._output, case.hypothesis)
        return lambda hidden: masked(self._keep(hidden))

    def _without(self, model: SpeechModel, hidden: Hidden) -> Float[Tensor, "batch token output"]:
        """Run the decoder on the frames that are left, masks that leave equally many together."""
        counts, found = hidden.sum(1), {}
        for count in counts.unique().tolist():
            rows = counts == count
            found[count] = rows, model.logits(self.encoded(hidden[rows]), self.case.hypothesis)
        like = next(iter(found.values()))[1]
        output = like.new_empty(len(hidden), *like.shape[1:])
        for rows, logits in found.values():
            output[rows] = logits
        return output

    def trial_segments(self) -> Segmentation:
        """Return each frame as a segment of its own: the masks of a check hide many at once."""
        return frame_segments(self.case.features.frames)

    @property
    def _neutral(self) -> Float[Tensor, " dim"]:
        return neutral_value(self.values, self.neutral)

    def _keep(self, hidden: Hidden) -> Keep:
        """Return which frames stay, or the share of each that does, padding included."""
        frames = self._output.shape[1]
        if hidden.dtype == torch.bool:
            keep = hidden.new_ones(len(hidden), frames)
            keep[:, : self.case.features.frames] = ~hidden
            return keep
        share = self._output.new_ones(len(hidden), frames)
        share[:, : self.case.features.frames] -= hidden.to(share)
        return share


@dataclass(frozen=True, eq=False)
class SpectrogramCells:
    """The cells of the spectrogram. Every mask runs the encoder and the decoder.

    neutral: the name of the neutral value.
    """

    case: Case
    neutral: str = "channel-mean"
    space: Literal["input"] = "input"

    @property
    def values(self) -> Float[Tensor, "melframe mel"]:
        """The valid spectrogram frames."""
        return self.case.features.valid

    @property
    def shape(self) -> tuple[int, int]:
        """One cell per valid spectrogram frame and mel channel."""
        return tuple(self.values.shape)

    @cached_property
    def _output(self) -> Float[Tensor, "1 frame dim"]:
        return _encoded(self.case)

    @property
    def positions(self) -> int:
        """The positions of the encoder: all frames of its output, padding included."""
        return int(self._output.shape[1])

    @cached_property
    def clean(self) -> Clean:
        """The pass with nothing hidden."""
        return _clean(self.case, self._output)

    def logits(
        self, values: Float[Tensor, "batch melframe mel"]
    ) -> Float[Tensor, "batch token vocab"]:
        """Run the model on other valid cells, with gradients."""
        padding = self.case.features.values[self.case.features.melframes :].to(values)
        whole = torch.cat([values, padding.expand(len(values), -1, -1)], 1)
        return self.case.model.logits(self.case.model.encode(whole), self.case.hypothesis)

    def encoded(self, hidden: Hidden) -> Float[Tensor, "batch frame dim"]:
        """Run the encoder on the spectrogram with hidden cells at the neutral value."""
        return self.case.model.encode(self._spectrograms(hidden, self.values.dtype))

    def passes(self, model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        """Return the function from masks to the output; each mask goes through the whole model."""
        if offers(model, MasksInput):
            masked = model.input_masking(self.case.features, self.case.hypothesis, dtype)
            return lambda hidden: masked(self._hidden(hidden, dtype))

        def perturbed(hidden: Hidden) -> Float[Tensor, "batch token output"]:
            encoded = model.encode(self._spectrograms(hidden, dtype))
            return model.logits(encoded, self.case.hypothesis)

        return perturbed

    @property
    def has_padding(self) -> bool:
        """Whether there is padding: not in a clip that fills the window, nor where the model pads nothing."""
        return self.case.features.melframes < len(self.case.features.values)

    def frozen_passes(self, model: SpeechModel, dtype: torch.dtype) -> Perturbed:
        """Return passes whose padding stays as in the clean pass (`models.optional.FreezesPadding`)."""
        assert offers(model, FreezesPadding)
        frozen = model.frozen_padding(self.case.features, self.case.hypothesis)
        return lambda hidden: frozen(self._hidden(hidden, dtype))

    def trial_segments(self) -> Segmentation:
        """Return patches of about 100 ms by an eighth of the channels."""
        features = self.case.features
        in_time = max(1, round(features.melframes * features.melframe_seconds / 0.1))
        return grid_segments(*self.shape, in_time, 8)

    def _spectrograms(
        self, hidden: Hidden, dtype: torch.dtype
    ) -> Float[Tensor, "batch melframe mel"]:
        features = self.case.features
        values = features.values.to(dtype).repeat(len(hidden), 1, 1)
        values[:, : features.melframes] = self._hidden(hidden, dtype)
        return values

    def _hidden(
        self, hidden: Hidden, dtype: torch.dtype
    ) -> Float[Tensor, "batch validmelframe mel"]:
        valid = self.values
        return replaced(valid.to(dtype), neutral_value(valid, self.neutral).to(dtype), hidden)


def replaced(
    values: Float[Tensor, "position channel"], neutral: Float[Tensor, " channel"], hidden: Hidden
) -> Float[Tensor, "batch position channel"]:
    """Return the values with the neutral one where a cell is hidden, or a mixture of both for a share.

    It exchanges bits of the numbers with integer operations, since `torch.where` takes 20 times as long on a CPU.
    """
    if hidden.dtype != torch.bool:
        return torch.lerp(values, neutral, hidden.to(values.dtype))
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[values.dtype.itemsize]
    own, other = values.view(bits), neutral.view(bits)
    hide = hidden.to(bits).neg_()
    return (own ^ (hide & (own ^ other))).view(values.dtype)


def _encoded(case: Case) -> Float[Tensor, "1 frame dim"]:
    with torch.no_grad(), FLOAT32.products():
        output: Tensor = case.model.encode(case.features.values[None])
    return output


def _clean(case: Case, encoded: Float[Tensor, "1 frame dim"]) -> Clean:
    with torch.no_grad(), FLOAT32.products():
        logits = case.model.logits(encoded, case.hypothesis)[0]
    return Clean(logits, torch.tensor(case.hypothesis.tokens, device=logits.device))


Cells = EncoderFrames | SpectrogramCells


def cells_of(case: Case, space: Space, neutral: str | None = None) -> Cells:
    """Return the cells of a space; neutral: by default what the references of that space use."""
    if space == "input":
        return SpectrogramCells(case, neutral or "channel-mean")
    return EncoderFrames(case, neutral or "zero")


def neutral_words(cells: Cells) -> str:
    """Say in words what a hidden cell becomes."""
    return _NEUTRAL_WORDS[cells.space, cells.neutral]
