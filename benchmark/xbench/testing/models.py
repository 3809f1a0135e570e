"""The contract of a model, as checks that run on any loaded or registered checkpoint.

features       finite, as long as the audio, and enough of them for the encoder frames they are said to make
neutral        the value that hides a cell (mean of its channel) is finite and no padding enters it
too-long       audio beyond `max_samples` is refused as `too-long`
language       a language that nobody speaks is refused as `unsupported-language`, unless `ModelInfo.any_language`
               says why every one is taken
hypothesis     tokens, texts and content rows fit together; neither the prompt nor end of text is explained
own-forward    teacher-forced logits are those of the network's own forward pass: KL < 1e-5
rows           row i predicts token i: the greedy choice of row i is token i, and another token i changes row
               i + 1 but no row up to i
batch          an unmasked copy beside perturbed ones has the logits it has alone: KL < 1e-5
padding        an utterance in the network's own padded batch beside a longer one has them too; where the
               network cannot do that, the family says why (`ModelInfo.padding`), and nothing here pads it
masking        `frame_masking` with all frames kept is the clean pass, with some zeroed `logits(encoded * keep)`
causal         of a decoder-only model: zeroing audio positions changes no attention block at a position before them,
               and some behind them
gradients      they reach the input and the encoder output, and no parameter
trace          every attention block that is captured rebuilds its output; rows over valid frames sum to one, and
               are those of the captured blocks, frame by frame
captures       what `ModelInfo.lacking` does not name is in the trace
deterministic  the same audio gives the same features and logits; another audio gives others
randomised     another seed gives other weights, the same seed the same, and the model keeps its own
surroundings   random numbers, gradient mode and default type of the process are what they were
leftovers      no hook, gradient, flag or changed weight is left behind by all of this
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xbench.description import CAPTURES
from xbench.errors import UtteranceError
from xbench.maps import on_encoder_grid
from xbench.models.loading import load_model
from xbench.models.protocol import SpeechModel, layout
from xbench.spec import Decoding, Scoring
from xbench.testing import model_logits
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable
from xbench.testing.demo_clips import demo_audio
from xbench.testing.model_subject import OTHER, TOKENS, Audio, Subject, divergence, expect_same
from xbench.testing.state import model_state, surroundings
from xbench.trace import SOURCES

_CLOSE = 1e-3  # of the largest value: rounding in float32
_EDGE = 0.1  # seconds by which windows at the ends may shorten or lengthen the axis
_NOBODY = "zz-none"
_UNUSUAL = 8_675_309


def check_model(
    model: SpeechModel | str,
    clips: Sequence[Audio] | None = None,
    *,
    language: str = "en",
    trust_remote_code: bool = False,
) -> list[CheckResult]:
    """Run the whole battery; never raises for what the model does once it is loaded.

    clips: two of different length, at the model's sampling rate; by default packaged ones.
    Raises UsageError or EnvironmentProblem where the model does not load.
    """
    if isinstance(model, str):
        model = load_model(model, device="cpu", trust_remote_code=trust_remote_code)
    given = demo_audio(model.info.sampling_rate) if clips is None else clips
    short, long = sorted(given, key=len)[:2]
    subject = Subject(model, short, long, language)
    padding = model.info.padding  # a family may not pad; a checkpoint of it may still be able to
    declared = {"padding": padding} if padding else {}
    return BATTERY.run(subject, declared, may_pass=declared)


# -- input and text -------------------------------------------------------------------------------


def _check_features(subject: Subject) -> None:
    for audio, features in zip((subject.short, subject.long), subject.features, strict=True):
        seconds = len(audio) / subject.model.info.sampling_rate
        if not torch.isfinite(features.values).all():
            raise Broken("some features are not finite")
        found = features.melframes * features.melframe_seconds
        if abs(found - seconds) > _EDGE:
            raise Broken(f"{features.melframes} input frames last {found:.3f} s of {seconds:.3f} s")
        step = features.stride * features.melframe_seconds
        if not -_EDGE - step < features.frames * step - seconds < _EDGE + step:
            raise Broken(
                f"{features.frames} encoder frames of {step:.3f} s do not fit {seconds:.3f} s"
            )
        made = subject.model.encode(features.values[None]).shape[1]
        if made < features.frames:
            raise Broken(f"{features.frames} frames are said to be valid, the encoder makes {made}")
        heard = min(made, -(-features.melframes // features.stride))
        if features.frames < heard:
            raise Broken(f"{features.frames} frames are said to be valid, {heard} carry audio")
        hypothesis = replace(subject.hypothesis, tokens=(0,), texts=("",), content=(0,))
        zeros = np.zeros((1, features.melframes, 1), dtype=np.float32)
        on_encoder_grid(zeros, layout(features, hypothesis), Scoring())
    short, long = subject.features
    if len(subject.short) < len(subject.long) and not short.frames < long.frames:
        raise Broken("longer audio has no more valid frames")


def _check_neutral(subject: Subject) -> None:
    features = subject.features[0]
    neutral = features.valid.mean(0)
    if features.valid.shape != (features.melframes, features.values.shape[1]):
        raise Broken("`valid` is not the first `melframes` rows of `values`")
    if not torch.isfinite(neutral).all():
        raise Broken("the mean of a channel is not finite")


def _check_too_long(subject: Subject) -> None:
    limit = subject.model.info.max_samples
    if limit > 120 * subject.model.info.sampling_rate:
        raise NotApplicable("its limit is longer than two minutes")
    _expect_refusal(
        lambda: subject.model.features(np.zeros(limit + 1, dtype=np.float32)), "too-long"
    )


def _check_language(subject: Subject) -> None:
    try:
        subject.model.check_language(_NOBODY, None)
    except UtteranceError as refusal:
        if refusal.reason != "unsupported-language":
            raise Broken(f"it refuses an unknown language as '{refusal.reason}'") from None
        return
    if why := subject.model.info.any_language:
        raise NotApplicable(why)
    raise Broken(
        f"it takes language '{_NOBODY}', which nobody speaks; `ModelInfo.any_language` may say why"
    )


def _expect_refusal(call: Callable[[], Any], reason: str) -> None:
    try:
        call()
    except UtteranceError as refusal:
        if refusal.reason != reason:
            raise Broken(f"it is refused as '{refusal.reason}', not as '{reason}'") from None
        return
    raise Broken(f"it is not refused as '{reason}'")


def _check_hypothesis(subject: Subject) -> None:
    hypothesis = subject.hypothesis
    if not hypothesis.prompt:
        raise Broken("there is no prompt: nothing predicts the first token")
    layout(subject.features[0], hypothesis)  # refuses texts and content that do not fit
    if len(hypothesis.tokens) > TOKENS:
        raise Broken(f"{len(hypothesis.tokens)} tokens, although at most {TOKENS} were asked for")
    whole = subject.model.decode(subject.features[0], subject.language, None, Decoding())
    ends = () if whole.truncated else whole.tokens[-1:]
    if any(whole.tokens[row] in ends for row in whole.content):
        raise Broken("end of text counts as content")


# -- trace ----------------------------------------------------------------------------------------


def _check_trace(subject: Subject) -> None:
    trace, info = subject.trace, subject.model.info
    rows, frames = len(subject.hypothesis.tokens), subject.features[0].frames
    expected = (info.decoder_layers, info.heads, rows, frames)
    if trace.source_attention.shape != expected:
        raise Broken(
            f"attention to the source of shape {list(trace.source_attention.shape)}, expected {list(expected)}"
        )
    sums = trace.source_attention.sum(-1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=_CLOSE):
        raise Broken("rows of attention over valid frames do not sum to one")
    if trace.blocks.keys() & SOURCES:
        attention = torch.stack([block.attention() for block in trace.source_stack()])
        rows_of_blocks = trace.crop_heads(attention)
        if not torch.allclose(trace.source_attention, rows_of_blocks, atol=_CLOSE):
            raise Broken("attention is not that of its blocks: are frames or rows shifted?")
    for name, blocks in trace.blocks.items():
        for layer, block in enumerate(blocks):
            context = (block.attention() @ block.value.float()).transpose(0, 1).flatten(1)
            rebuilt = context @ block.output_weight.float().T + block.output_bias.float()
            error = float((rebuilt - block.output.float()).abs().max())
            if error > _CLOSE * float(block.output.abs().max()):
                raise Broken(f"{name} block {layer} is not rebuilt: off by {error:.3g}")


def _check_captures(subject: Subject) -> None:
    lacking = subject.model.info.lacking
    unknown = set(lacking) - CAPTURES
    if unknown:
        raise Broken(f"`lacking` names {min(unknown)}, which is no capture")
    for capture in sorted(CAPTURES - set(lacking)):
        stack, kind = capture.split("-")
        blocks = subject.trace.blocks
        held = (
            any(blocks.get(name) for name in (SOURCES if stack == "source" else {stack}))
            if kind == "projections"
            else getattr(subject.trace, f"{stack}_attention") is not None
        )
        if not held:
            raise Broken(f"the trace lacks {capture}, and `lacking` does not say why")


# -- the same again -------------------------------------------------------------------------------


@torch.no_grad()
def _check_deterministic(subject: Subject) -> None:
    again = subject.model.features(subject.short)
    if not torch.equal(again.values, subject.features[0].values):
        raise Broken("the same audio has other features")
    logits = subject.model.logits(subject.model.encode(again.values[None]), subject.hypothesis)[0]
    expect_same(subject.logits, logits, "twice the same")
    # As long as the clip itself: a hypothesis of a decoder-only model belongs to the length of its audio.
    other = subject.short.copy()
    other[len(other) // 2 :] = 0
    elsewhere = subject.model.features(other)
    logits = subject.model.logits(subject.model.encode(elsewhere.values[None]), subject.hypothesis)
    if divergence(subject.logits, logits[0]) < OTHER:
        raise Broken("another audio gives the same output")


@torch.no_grad()
def _check_randomised(subject: Subject) -> None:
    def logits(seed: int) -> Tensor:
        other = subject.model.randomised(seed)
        encoded = other.encode(subject.features[0].values[None])
        return other.logits(encoded, subject.hypothesis)[0]

    first = logits(0)
    if divergence(first, subject.logits) < OTHER:
        raise Broken("the randomised model says what the model says")
    if divergence(first, logits(1)) < OTHER:
        raise Broken("another seed gives the same weights")
    expect_same(first, logits(0), "the same seed")


@torch.no_grad()
def _check_surroundings(subject: Subject) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_UNUSUAL)  # who seeds anew hardly takes this seed
        before = surroundings()
        fresh = Subject(subject.model, subject.short, subject.long, subject.language)
        assert len(fresh.logits) == len(fresh.trace.layout.tokens)
        subject.model.randomised(0)
        changed = [name for name, value in surroundings().items() if before[name] != value]
    if changed:
        raise Broken(f"it changes {changed[0]}")


def _check_leftovers(subject: Subject) -> None:
    before, after = subject.before, model_state(subject.model)
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if changed:
        raise Broken(f"{changed[0]} is not what it was")


CHECKS: Mapping[str, Callable[[Subject], None]] = {
    "features": _check_features,
    "neutral": _check_neutral,
    "too-long": _check_too_long,
    "language": _check_language,
    "hypothesis": _check_hypothesis,
    "own-forward": model_logits.check_own_forward,
    "rows": model_logits.check_rows,
    "batch": model_logits.check_batch,
    "padding": model_logits.check_padding,
    "masking": model_logits.check_masking,
    "causal": model_logits.check_causal,
    "gradients": model_logits.check_gradients,
    "trace": _check_trace,
    "captures": _check_captures,
    "deterministic": _check_deterministic,
    "randomised": _check_randomised,
    "surroundings": _check_surroundings,
    "leftovers": _check_leftovers,
}
BATTERY = Battery(CHECKS)
