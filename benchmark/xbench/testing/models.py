"""The contract of a model, as checks that run on any loaded or registered checkpoint.

features       finite, as long as the audio, and enough of them for the encoder frames they are said to make
neutral        the value that hides a cell (mean of its channel) is finite and no padding enters it
too-long       audio beyond `max_samples` is refused as `too-long`
language       a language that nobody speaks is refused as `unsupported-language`
hypothesis     tokens, texts and content rows fit together; the prompt is not explained
own-forward    teacher-forced logits are those of the network's own forward pass: KL < 1e-5
rows           row i predicts token i: the greedy choice of row i is token i, and another token i changes row
               i + 1 but no row up to i
batch          an unmasked copy beside perturbed ones has the logits it has alone: KL < 1e-5
padding        an utterance in the network's own padded batch beside a longer one has them too; where the
               network cannot do that, the family says why (`ModelInfo.padding`), and nothing here pads it
masking        `frame_masking` with all frames kept is the clean pass, with some zeroed `logits(encoded * keep)`
gradients      they reach the input and the encoder output, and no parameter
trace          every attention block that is captured rebuilds its output; rows over valid frames sum to one
captures       what `ModelInfo.lacking` does not name is in the trace
deterministic  the same audio gives the same features and logits; another audio gives others
randomised     another seed gives other weights, the same seed the same, and the model keeps its own
leftovers      no hook, gradient, flag or changed weight is left behind by all of this
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from xbench.errors import UtteranceError, XbenchError
from xbench.hiding.effect import kl_divergence
from xbench.maps import on_encoder_grid
from xbench.models.loading import load_model
from xbench.models.optional import Inspectable, offers
from xbench.models.protocol import Features, Hypothesis, SpeechModel, layout
from xbench.spec import Decoding, Scoring
from xbench.testing.methods import CheckResult, demo_audio, model_state
from xbench.trace import CAPTURES, Trace

_SAME = 1e-5  # nats
_OTHER = 1e-6  # nats: less than any change that means something, more than rounding
_CLOSE = 1e-3  # of the largest value: rounding in float32
_EDGE = 0.1  # seconds by which windows at the ends may shorten or lengthen the axis
_TOKENS = 12
_NOBODY = "zz-none"

Audio = Float32[np.ndarray, " _"]  # clips differ in length


class _Broken(Exception):
    """A check found the contract broken; the message says how."""


class _NotApplicable(Exception):
    """A check has nothing to look at; the message says why."""


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
    subject = _Subject(model, short, long, language)
    return [_outcome(name, check, subject) for name, check in CHECKS.items()]


def _outcome(name: str, check: Callable[[_Subject], None], subject: _Subject) -> CheckResult:
    try:
        check(subject)
    except _NotApplicable as reason:
        return CheckResult(name, "skipped", str(reason))
    except Exception as problem:  # noqa: BLE001  # a plugin may fail in any way
        own = isinstance(problem, _Broken | XbenchError)
        detail = str(problem) if own else f"{type(problem).__name__}: {problem}"
        declared = subject.model.info.padding if name == "padding" else ""
        if declared:
            return CheckResult(name, "expected", f"{declared} ({detail})")
        return CheckResult(name, "failed", detail.splitlines()[0])
    return CheckResult(name, "passed")


@dataclass(frozen=True)
class _Subject:
    """The model, a shorter and a longer clip, and what the model makes of them."""

    model: SpeechModel
    short: Audio
    long: Audio
    language: str

    @cached_property
    def before(self) -> dict[str, Any]:
        """The state of weights, hooks and flags before the first check."""
        return model_state(self.model)

    @cached_property
    def features(self) -> tuple[Features, Features]:
        """Of the short and the long clip."""
        assert self.before
        return self.model.features(self.short), self.model.features(self.long)

    @cached_property
    def hypothesis(self) -> Hypothesis:
        """The greedy hypothesis of the short clip."""
        greedy = Decoding(beams=1, no_repeat_ngram=0, max_tokens=_TOKENS)
        return self.model.decode(self.features[0], self.language, None, greedy)

    @cached_property
    @torch.no_grad()
    def encoded(self) -> Float[Tensor, "1 frame dim"]:
        """Of the short clip."""
        return self.model.encode(self.features[0].values[None])

    @cached_property
    @torch.no_grad()
    def logits(self) -> Float[Tensor, "token vocab"]:
        """Of the short clip, alone."""
        return self.model.logits(self.encoded, self.hypothesis)[0]

    @cached_property
    def trace(self) -> Trace:
        """Everything that the model can capture of the short clip."""
        return self.model.trace(self.features[0], self.hypothesis, CAPTURES)


def _divergence(
    expected: Float[Tensor, "token vocab"], found: Float[Tensor, "token vocab"]
) -> float:
    if expected.shape != found.shape:
        raise _Broken(f"logits of shape {list(found.shape)}, expected {list(expected.shape)}")
    log_p, log_q = expected.float().log_softmax(-1), found.float().log_softmax(-1)
    return float(kl_divergence(log_p, log_q[None]).max())


def _expect_same(expected: Tensor, found: Tensor, what: str) -> None:
    divergence = _divergence(expected, found)
    if not divergence < _SAME:
        raise _Broken(f"{what}: KL {divergence:.3g}, allowed {_SAME:g}")


# -- input and text -------------------------------------------------------------------------------


def _check_features(subject: _Subject) -> None:
    for audio, features in zip((subject.short, subject.long), subject.features, strict=True):
        seconds = len(audio) / subject.model.info.sampling_rate
        if not torch.isfinite(features.values).all():
            raise _Broken("some features are not finite")
        found = features.melframes * features.melframe_seconds
        if abs(found - seconds) > _EDGE:
            raise _Broken(
                f"{features.melframes} input frames last {found:.3f} s of {seconds:.3f} s"
            )
        step = features.stride * features.melframe_seconds
        if not -_EDGE - step < features.frames * step - seconds < _EDGE + step:
            raise _Broken(
                f"{features.frames} encoder frames of {step:.3f} s do not fit {seconds:.3f} s"
            )
        made = subject.model.encode(features.values[None]).shape[1]
        if made < features.frames:
            raise _Broken(
                f"{features.frames} frames are said to be valid, the encoder makes {made}"
            )
        hypothesis = replace(subject.hypothesis, tokens=(0,), texts=("",), content=(0,))
        zeros = np.zeros((1, features.melframes, 1), dtype=np.float32)
        on_encoder_grid(zeros, layout(features, hypothesis), Scoring())
    short, long = subject.features
    if len(subject.short) < len(subject.long) and not short.frames < long.frames:
        raise _Broken("longer audio has no more valid frames")


def _check_neutral(subject: _Subject) -> None:
    features = subject.features[0]
    neutral = features.valid.mean(0)
    if features.valid.shape != (features.melframes, features.values.shape[1]):
        raise _Broken("`valid` is not the first `melframes` rows of `values`")
    if not torch.isfinite(neutral).all():
        raise _Broken("the mean of a channel is not finite")


def _check_too_long(subject: _Subject) -> None:
    limit = subject.model.info.max_samples
    if limit > 120 * subject.model.info.sampling_rate:
        raise _NotApplicable("its limit is longer than two minutes")
    _expect_refusal(
        lambda: subject.model.features(np.zeros(limit + 1, dtype=np.float32)), "too-long"
    )


def _check_language(subject: _Subject) -> None:
    try:
        subject.model.check_language(_NOBODY, None)
    except UtteranceError as refusal:
        if refusal.reason != "unsupported-language":
            raise _Broken(f"it refuses an unknown language as '{refusal.reason}'") from None
        return
    raise _NotApplicable("the checkpoint does not say which languages it knows")


def _expect_refusal(call: Callable[[], Any], reason: str) -> None:
    try:
        call()
    except UtteranceError as refusal:
        if refusal.reason != reason:
            raise _Broken(f"it is refused as '{refusal.reason}', not as '{reason}'") from None
        return
    raise _Broken(f"it is not refused as '{reason}'")


def _check_hypothesis(subject: _Subject) -> None:
    hypothesis = subject.hypothesis
    if not hypothesis.prompt:
        raise _Broken("there is no prompt: nothing predicts the first token")
    layout(subject.features[0], hypothesis)  # refuses texts and content that do not fit
    if len(hypothesis.tokens) > _TOKENS:
        raise _Broken(f"{len(hypothesis.tokens)} tokens, although at most {_TOKENS} were asked for")
    if not hypothesis.truncated and len(hypothesis.tokens) - 1 in hypothesis.content:
        raise _Broken("end of text counts as content")


# -- logits ---------------------------------------------------------------------------------------


def _inspectable(subject: _Subject) -> Inspectable:
    if not offers(subject.model, Inspectable):
        raise _NotApplicable("the model does not show its own forward pass")
    return subject.model


@torch.no_grad()
def _own_logits(subject: _Subject, *others: Features) -> Float[Tensor, "token vocab"]:
    hypothesis = subject.hypothesis
    # A fixed window is input as a whole; all else is as long as its audio.
    inputs = [f.values for f in (subject.features[0], *others)]
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]]).expand(len(inputs), -1)
    own = _inspectable(subject).own_forward(inputs, ids.to(inputs[0].device))
    return own[0, len(hypothesis.prompt) - 1 :]


def _check_own_forward(subject: _Subject) -> None:
    _expect_same(_own_logits(subject), subject.logits, "against the network's own forward pass")


@torch.no_grad()
def _check_rows(subject: _Subject) -> None:
    hypothesis, tokens = subject.hypothesis, subject.hypothesis.tokens
    chosen = subject.logits.argmax(-1).tolist()
    for row, (found, token) in enumerate(zip(chosen, tokens, strict=True)):
        if found != token:
            raise _Broken(f"row {row} predicts token {found}, but {token} was generated")
    if len(tokens) < 3:
        raise _NotApplicable("the hypothesis is too short to tell its rows apart")
    for row in range(len(tokens) - 1):
        other = list(tokens)
        other[row] = next(t for t in (*hypothesis.prompt, *tokens) if t != tokens[row])
        changed = replace(hypothesis, tokens=tuple(other))
        logits = subject.model.logits(subject.encoded, changed)[0]
        if _divergence(subject.logits[: row + 1], logits[: row + 1]) > _SAME:
            raise _Broken(f"token {row} changes a row up to {row}, which predicts it")
        following = slice(row + 1, row + 2)
        if _divergence(subject.logits[following], logits[following]) < _OTHER:
            raise _Broken(f"row {row + 1} does not depend on token {row} before it")


@torch.no_grad()
def _check_batch(subject: _Subject) -> None:
    values = subject.features[0].values
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(3, len(values), 1, generator=generator).to(values.device) > 0.5
    batch = torch.cat([values[None], torch.where(keep, values, values.mean(0))])
    together = subject.model.logits(subject.model.encode(batch), subject.hypothesis)
    _expect_same(subject.logits, together[0], "beside perturbed copies")
    if _divergence(subject.logits, together[1]) < _OTHER:
        raise _Broken("a perturbed copy gives the clean output: the model does not hear its input")


def _check_padding(subject: _Subject) -> None:
    _expect_same(
        subject.logits,
        _own_logits(subject, subject.features[1]),
        "padded beside a longer utterance",
    )


@torch.no_grad()
def _check_masking(subject: _Subject) -> None:
    encoded = subject.encoded
    before = encoded.clone()
    masked = subject.model.frame_masking(encoded, subject.hypothesis)
    generator = torch.Generator().manual_seed(0)
    keep = (torch.rand(3, encoded.shape[1], generator=generator) > 0.5).to(encoded)
    keep[0] = 1
    found = masked(keep)
    if not torch.equal(encoded, before):
        raise _Broken("it changes the encoder output that it is given")
    _expect_same(subject.logits, found[0], "with every frame kept")
    for row in (1, 2):
        plain = subject.model.logits(encoded * keep[row][None, :, None], subject.hypothesis)[0]
        _expect_same(plain, found[row], "with frames zeroed")
    if _divergence(subject.logits, found[1]) < _OTHER:
        raise _Broken("zeroing half of the encoder output changes nothing")


def _check_gradients(subject: _Subject) -> None:
    values = subject.features[0].values[None].clone().requires_grad_()
    with torch.enable_grad():
        encoded = subject.model.encode(values)
        logits = subject.model.logits(encoded, subject.hypothesis)
        scores = logits.float().log_softmax(-1)[0].max(-1).values.sum()
        gradients = torch.autograd.grad(scores, [values, encoded])
    for name, gradient in zip(("input", "encoder output"), gradients, strict=True):
        if not torch.isfinite(gradient).all() or not gradient.abs().sum() > 0:
            raise _Broken(f"the gradient by the {name} is zero or not finite")


# -- trace ----------------------------------------------------------------------------------------


def _check_trace(subject: _Subject) -> None:
    trace, info = subject.trace, subject.model.info
    rows, frames = len(subject.hypothesis.tokens), subject.features[0].frames
    expected = (info.decoder_layers, info.heads, rows, frames)
    if trace.cross_attention.shape != expected:
        raise _Broken(
            f"cross-attention of shape {list(trace.cross_attention.shape)}, expected {list(expected)}"
        )
    sums = trace.cross_attention.sum(-1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=_CLOSE):
        raise _Broken("rows of cross-attention over valid frames do not sum to one")
    for name, blocks in trace.blocks.items():
        for layer, block in enumerate(blocks):
            context = (block.attention() @ block.value.float()).transpose(0, 1).flatten(1)
            rebuilt = context @ block.output_weight.float().T + block.output_bias.float()
            error = float((rebuilt - block.output.float()).abs().max())
            if error > _CLOSE * float(block.output.abs().max()):
                raise _Broken(f"{name} block {layer} is not rebuilt: off by {error:.3g}")


def _check_captures(subject: _Subject) -> None:
    lacking = subject.model.info.lacking
    unknown = set(lacking) - CAPTURES
    if unknown:
        raise _Broken(f"`lacking` names {min(unknown)}, which is no capture")
    for capture in sorted(CAPTURES - set(lacking)):
        stack, kind = capture.split("-")
        held = (
            bool(subject.trace.blocks.get(stack))
            if kind == "projections"
            else getattr(subject.trace, f"{stack}_attention") is not None
        )
        if not held:
            raise _Broken(f"the trace lacks {capture}, and `lacking` does not say why")


# -- the same again -------------------------------------------------------------------------------


@torch.no_grad()
def _check_deterministic(subject: _Subject) -> None:
    again = subject.model.features(subject.short)
    if not torch.equal(again.values, subject.features[0].values):
        raise _Broken("the same audio has other features")
    logits = subject.model.logits(subject.model.encode(again.values[None]), subject.hypothesis)[0]
    _expect_same(subject.logits, logits, "twice the same")
    elsewhere = subject.model.features(subject.long)
    logits = subject.model.logits(subject.model.encode(elsewhere.values[None]), subject.hypothesis)
    if _divergence(subject.logits, logits[0]) < _OTHER:
        raise _Broken("another audio gives the same output")


@torch.no_grad()
def _check_randomised(subject: _Subject) -> None:
    def logits(seed: int) -> Tensor:
        other = subject.model.randomised(seed)
        encoded = other.encode(subject.features[0].values[None])
        return other.logits(encoded, subject.hypothesis)[0]

    first = logits(0)
    if _divergence(first, subject.logits) < _OTHER:
        raise _Broken("the randomised model says what the model says")
    if _divergence(first, logits(1)) < _OTHER:
        raise _Broken("another seed gives the same weights")
    _expect_same(first, logits(0), "the same seed")


def _check_leftovers(subject: _Subject) -> None:
    before, after = subject.before, model_state(subject.model)
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if changed:
        raise _Broken(f"{changed[0]} is not what it was")


CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "features": _check_features,
    "neutral": _check_neutral,
    "too-long": _check_too_long,
    "language": _check_language,
    "hypothesis": _check_hypothesis,
    "own-forward": _check_own_forward,
    "rows": _check_rows,
    "batch": _check_batch,
    "padding": _check_padding,
    "masking": _check_masking,
    "gradients": _check_gradients,
    "trace": _check_trace,
    "captures": _check_captures,
    "deterministic": _check_deterministic,
    "randomised": _check_randomised,
    "leftovers": _check_leftovers,
}
