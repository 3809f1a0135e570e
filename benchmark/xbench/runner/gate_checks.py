"""What each sanity gate tries on a method: one value per utterance, which `gates` holds against the threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from xbench.case import Case
from xbench.description import CAPTURES
from xbench.errors import Unsupported
from xbench.hiding.masks import mask_key
from xbench.methods.corpus import stretch
from xbench.methods.gradients import convergence_delta
from xbench.methods.target import Scores
from xbench.methods.watch import Watch
from xbench.metrics.sanity import (
    largest_difference,
    max_sensitivity,
    similarity,
    specificity,
)
from xbench.models.optional import RandomisesParts, offers
from xbench.models.protocol import Features, Hypothesis, SpeechModel
from xbench.runner import stages
from xbench.runner.keys import Decoded, Job
from xbench.runner.plan import Method
from xbench.spec import content_hash

FEWEST_PAIRINGS = 20
PARTNERS = 5
RADIUS = 0.02  # of the input's standard deviation
NOISE = 0.05  # of the input's range
PADDING_NOISE = 0.1  # of the input's standard deviation
SENSITIVITY_DRAWS, SMOOTH_DRAWS, CASCADE_STEPS = 5, 4, 4
SMALLEST_CHANGE = 0.1  # nats or logits: a smaller f(x) - f(baseline) has no relative error

Rows = Float[np.ndarray, "token frame"]


@dataclass(frozen=True)
class Sampled:
    """One utterance of the sample."""

    job: Job
    decoded: Decoded
    features: Features

    def noise(self, what: str, draw: int) -> Any:
        """Return standard normal noise for the spectrogram; it follows from seed, audio and purpose."""
        key = mask_key(self.job.seed, f"{self.job.utterance.audio_sha256}:{what}:{draw}")
        generator = np.random.Generator(np.random.Philox(key=key))
        values = self.features.values
        drawn = generator.standard_normal(tuple(values.shape), dtype=np.float32)
        return torch.from_numpy(drawn).to(values.device, values.dtype)


@dataclass(frozen=True)
class Judged:
    """A method on a model, with the utterances it is judged on."""

    model: SpeechModel
    method: Method
    clips: tuple[Sampled, ...]
    seed: int
    watch: Watch = field(default_factory=Watch)
    _clean: dict[str, Any] = field(default_factory=dict)

    def values(
        self,
        clip: Sampled,
        *,
        model: SpeechModel | None = None,
        features: Features | None = None,
        hypothesis: Hypothesis | None = None,
    ) -> tuple[Case, Float[np.ndarray, "token *cells"]]:
        """Compute the map with another model, spectrogram or hypothesis, as the method gives it."""
        model = model or self.model
        features = features or clip.features
        hypothesis = hypothesis or clip.decoded.hypothesis
        needs = self.method.description.needs & CAPTURES
        trace = model.trace(features, hypothesis, needs)
        key = clip.job.utterance.audio_sha256
        case = Case(model, features, hypothesis, key, trace, clip.job.words)
        return case, stages.map_of(self.method, case, self.watch)

    def rows(self, clip: Sampled, **changed: Any) -> Rows:
        """Return the content rows of the map on encoder frames."""
        case, values = self.values(clip, **changed)
        grid = self.method.on_grid(values, case.layout, clip.job.task.scoring)
        return grid.values[list(case.layout.content)]

    def clean(self, clip: Sampled) -> Rows:
        """Return the rows of the unchanged case, computed once."""
        name = clip.job.utterance.id
        if name not in self._clean:
            self._clean[name] = self.rows(clip)
        rows: Rows = self._clean[name]
        return rows

    def smooth(self, clip: Sampled, model: SpeechModel | None = None) -> Rows:
        """Return the mean of the rows over noisy inputs."""
        spread = float(clip.features.valid.max() - clip.features.valid.min())
        drawn = [
            self.rows(
                clip, model=model, features=_noisy(clip, NOISE * spread * clip.noise("smooth", d))
            )
            for d in range(SMOOTH_DRAWS)
        ]
        mean: Rows = np.mean(drawn, axis=0)
        return mean


@dataclass(frozen=True)
class Found:
    """One value per utterance (None: undefined), the threshold where data give it, and a remark."""

    values: Sequence[float | None]
    threshold: float | None = None
    remark: str | None = None


def _determinism(judged: Judged) -> Found:
    return Found([largest_difference(judged.clean(c), judged.rows(c)) for c in judged.clips])


def _padding_leak(judged: Judged) -> Found:
    values: list[float | None] = []
    for clip in judged.clips:
        features = clip.features
        if len(features.values) == features.melframes:
            values.append(None)
            continue
        noise = PADDING_NOISE * float(features.valid.std()) * clip.noise("padding", 0)
        noise[: features.melframes] = 0
        values.append(
            _change(
                judged.clean(clip),
                judged.rows(clip, features=replace(features, values=features.values + noise)),
            )
        )
    if all(len(c.features.values) == c.features.melframes for c in judged.clips):
        raise Unsupported("no utterance has padding")
    return Found(values)


def _change(first: Rows, second: Rows) -> float | None:
    alike = similarity(first, second)
    return None if alike is None else 1 - alike


def _token_specificity(judged: Judged) -> Found:
    return Found([specificity(judged.clean(clip)) for clip in judged.clips])


def _random_token(judged: Judged) -> Found:
    if judged.method.description.kind in ("attention", "control"):
        raise Unsupported("the map does not depend on which token is explained, by construction")
    pool = sorted({c.decoded.hypothesis.tokens[i] for c in judged.clips for i in _content(c)})
    values = []
    for clip in judged.clips:
        content = _content(clip)
        place = content[len(content) // 2]
        own = clip.decoded.hypothesis.tokens[place]
        others = [token for token in pool if token != own]
        if not others:
            raise Unsupported("the hypotheses hold a single token")
        digest = content_hash([clip.job.seed, clip.job.utterance.audio_sha256])
        other = others[int(digest[:8], 16) % len(others)]
        first, second = (
            judged.rows(clip, hypothesis=_ending_with(clip.decoded.hypothesis, place, token))[-1:]
            for token in (own, other)
        )
        values.append(similarity(first, second))
    return Found(values)


def _content(clip: Sampled) -> tuple[int, ...]:
    return clip.decoded.hypothesis.content


def _ending_with(hypothesis: Hypothesis, place: int, token: int) -> Hypothesis:
    """Cut the hypothesis after a place and put another token there: the prefix stays what it was."""
    return replace(
        hypothesis,
        tokens=(*hypothesis.tokens[:place], token),
        texts=hypothesis.texts[: place + 1],
        content=tuple(i for i in hypothesis.content if i <= place),
    )


def _max_sensitivity(judged: Judged) -> Found:
    values = []
    for clip in judged.clips:
        radius = RADIUS * float(clip.features.valid.std())
        # A draw from the L-infinity ball: uniform in each cell.
        drawn = [
            torch.erf(clip.noise("ball", d) / 2**0.5) * radius for d in range(SENSITIVITY_DRAWS)
        ]
        perturbed = [judged.rows(clip, features=_noisy(clip, noise)) for noise in drawn]
        values.append(max_sensitivity(judged.clean(clip), np.stack(perturbed)))
    return Found(values)


def _noisy(clip: Sampled, noise: Any) -> Features:
    """Add noise to the valid cells."""
    values = clip.features.values.clone()
    values[: clip.features.melframes] += noise[: clip.features.melframes]
    return replace(clip.features, values=values)


def _convergence_delta(judged: Judged) -> Found:
    description = judged.method.description
    if not description.complete:
        raise Unsupported("the method does not claim that its map sums to f(x) - f(baseline)")
    params = judged.method.call.given
    values = []
    for clip in judged.clips:
        case, array = judged.values(clip)
        scores = Scores.of(case, description.space, str(params["target"]))
        baseline = str(params["baseline"])
        device = scores.point.device
        delta = convergence_delta(scores, torch.from_numpy(array).to(device), baseline)
        ends = scores.evaluate(torch.stack([scores.point, scores.baseline(baseline)]))
        change = (ends[0] - ends[1]).abs()[list(_content(clip))]
        error = delta.abs()[list(_content(clip))]
        used = change >= SMALLEST_CHANGE
        values.append(float((error[used] / change[used]).mean()) if used.any() else None)
    return Found(values)


def _mprt(judged: Judged) -> Found:
    return _randomisation(judged, judged.clean, lambda c, m: judged.rows(c, model=m))


def _smooth_mprt(judged: Judged) -> Found:
    return _randomisation(judged, judged.smooth, judged.smooth)


def _randomisation(
    judged: Judged,
    clean: Callable[[Sampled], Rows],
    randomised: Callable[[Sampled, SpeechModel], Rows],
) -> Found:
    """Compare with maps of a model whose decoder, top down, and then all else is initialised anew."""
    own = {clip.job.utterance.id: clean(clip) for clip in judged.clips}
    shuffled = _shuffled(judged.clips, own)
    model, seed = (
        judged.model,
        judged.seed + 1,
    )  # a model made with the seed itself is not randomised
    curve = []
    if offers(model, RandomisesParts):
        layers = model.info.decoder_layers
        for count in sorted(
            {-(-layers * step // CASCADE_STEPS) for step in range(1, CASCADE_STEPS + 1)}
        ):
            part = model.partly_randomised(seed, count)
            curve.append(_mean_similarity(judged.clips, own, randomised, part)[1])
    values, end = _mean_similarity(judged.clips, own, randomised, model.randomised(seed))
    shown = ", ".join("–" if x is None else f"{x:.2f}" for x in [*curve, end])
    cascade = "cascade" if curve else "only all layers at once (the family has no parts)"
    return Found(values, shuffled, f"{cascade}: {shown}; other utterances: {shuffled:.2f}")


def _mean_similarity(
    clips: Sequence[Sampled],
    own: Mapping[str, Rows],
    randomised: Callable[[Sampled, SpeechModel], Rows],
    model: SpeechModel,
) -> tuple[list[float | None], float | None]:
    values = [similarity(own[c.job.utterance.id], randomised(c, model)) for c in clips]
    defined = [value for value in values if value is not None]
    return values, (sum(defined) / len(defined) if defined else None)


def _shuffled(clips: Sequence[Sampled], own: Mapping[str, Rows]) -> float:
    """Return the mean similarity with stretched maps of other clusters and sentences."""
    found = []
    for number, clip in enumerate(clips):
        rows = own[clip.job.utterance.id]
        others = [
            other
            for other in (*clips[number + 1 :], *clips[:number])
            if other.job.utterance.cluster != clip.job.utterance.cluster
            and other.decoded.hypothesis.tokens != clip.decoded.hypothesis.tokens
        ]
        for other in others[:PARTNERS]:
            stretched = stretch(own[other.job.utterance.id], *rows.shape)
            alike = similarity(rows, stretched)
            if alike is not None:
                found.append(alike)
    if len(found) < FEWEST_PAIRINGS:
        raise Unsupported(
            f"{len(found)} pairings across clusters and sentences, fewer than {FEWEST_PAIRINGS}"
        )
    return sum(found) / len(found)


CHECKS: Mapping[str, Callable[[Judged], Found]] = {
    "determinism": _determinism,
    "padding-leak": _padding_leak,
    "token-specificity": _token_specificity,
    "random-token": _random_token,
    "max-sensitivity": _max_sensitivity,
    "convergence-delta": _convergence_delta,
    "mprt": _mprt,
    "smooth-mprt": _smooth_mprt,
}
