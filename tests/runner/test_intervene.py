"""Intervention on a model whose evidence is known, and through a whole run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wrapped_model import Wrapped
from xbench import Call, ExecutionOptions, RunResult, RunSpec, evaluate, registry
from xbench.data.manifest import Selection, read_manifest
from xbench.maps import Layout
from xbench.metrics import Score
from xbench.metrics import intervention as iv
from xbench.metrics.quality import corpus_quality, statistics
from xbench.results.corpus import corpus_estimate
from xbench.runner import compare, hearing, intervene, ranked, stages
from xbench.runner.bench import Bench
from xbench.runner.keys import Decoded, Job, Spoken
from xbench.runner.plan import Method
from xbench.spec import Decoding, Quality
from xbench.stats import mean_estimate
from xbench.store import Store
from xbench.tasks import load_task

FORCED = ("deletion-auc", "insertion-auc", "comprehensiveness", "sufficiency-eraser")
EFFECTS = ("faithfulness-correlation", "sensitivity-n", "infidelity", "polarity")
FREE = ("deletion-auc-free", "insertion-auc-free")
METRICS = (*FORCED, *EFFECTS, "size")


def method(text: str) -> Method:
    return Method.registered(Call.parse(text))


@pytest.fixture
def job(make_manifest: Callable[..., Path]) -> Job:
    """Return a clip of three words under the ASR task with every intervention metric."""
    path = make_manifest({"a": 0.5}, {"a": {"transcript": "1 2 3"}})
    (utterance,) = read_manifest(path, selection=Selection()).utterances
    return Job(task_with(*METRICS, *FREE), utterance, seed=0)


def task_with(*names: str) -> Any:
    metrics = tuple(registry.metrics.resolve(Call.parse(name))[1] for name in names)
    return replace(load_task("asr-en"), metrics=metrics)


def scores_of(
    model: Any, store: Store, job: Job, methods: list[Method]
) -> dict[str, dict[str, Score]]:
    """Explain, measure and score; return score by method and metric."""
    bench = Bench(model, store)
    spoken = Spoken(job, stages.decode(bench, job))
    assert stages.explain(bench, spoken, methods) == {}
    hearing.measure(bench, spoken, methods)
    return rescored(bench, spoken, methods)


def rescored(
    bench: Bench, spoken: Spoken, methods: list[Method], **how: str
) -> dict[str, dict[str, Score]]:
    empty = compare.Scored({m.call: {} for m in methods}, {})
    scored = intervene.with_interventions(empty, bench.shelf, spoken, methods, **how)
    return {
        call.name: {metric: score for (metric, _), score in found.items()}
        for call, found in scored.scores.items()
    }


# -- the planted model ----------------------------------------------------------------------------


def log_p(heard: int) -> float:
    """Log-probability of a planted token when `heard` of its two frames are heard: logit 6, 3 or 0 of 6."""
    logit = 3.0 * heard
    return logit - log(exp(logit) + 5)


def test_the_oracle_map_by_hand(planted: Any, tmp_path: Path, job: Job) -> None:
    # mean-heads of the planted trace is the oracle: 1/2 on the token's two of 12 frames.
    # k(q) = floor(12 q / 100): 0 at 0, 5 %; 1 at 10, 15 %; 2 and more from 20 % on.
    found = scores_of(planted, Store(tmp_path), job, [method("mean-heads")])["mean-heads"]
    share = (log_p(2) - log_p(1)) / (log_p(2) - log_p(0))
    assert found["deletion-auc"].value == pytest.approx(0.05 * (2 * share + 16.5), rel=1e-5)
    assert found["insertion-auc"].value == pytest.approx(0.05 * (2 * (1 - share) + 16.5), rel=1e-5)
    one, none = (exp(log_p(2)) - exp(log_p(heard)) for heard in (1, 0))
    assert found["comprehensiveness"].value == pytest.approx((one + 2 * none) / 4, rel=1e-5)
    assert found["sufficiency-eraser"].value == pytest.approx((none + one) / 4, rel=1e-5)
    # Threshold 0: all cells; every other of the 20 thresholds: 2 of 12.
    assert found["size"].value == pytest.approx(0.05 * (50 + 19.5 * 100 / 6), rel=1e-6)


def test_the_oracle_wins_and_energy_loses(planted: Any, tmp_path: Path, job: Job) -> None:
    methods = [method(name) for name in ("mean-heads", "energy", "random")]
    found = scores_of(planted, Store(tmp_path), job, methods)
    for name in (*FORCED, *EFFECTS):
        sign = 1 if registry.metrics.get(name).higher_is_better else -1
        oracle, *others = (sign * found[m][name].value for m in ("mean-heads", "energy", "random"))
        assert all(oracle > other + 0.02 for other in others), name


def test_energy_hides_all_loud_frames_alike(planted: Any, tmp_path: Path, job: Job) -> None:
    # Six loud frames (1, 2, 5, 6, 9, 10) go in this order for every token: token 0 loses its
    # frames as the oracle does, token 1 at k = 3 and 4, token 2 at k = 5 and 6.
    found = scores_of(planted, Store(tmp_path), job, [method("energy")])["energy"]
    share = (log_p(2) - log_p(1)) / (log_p(2) - log_p(0))
    hidden = np.array([12 * q // 100 for q in iv.PERCENT])
    areas = []
    for token in range(3):
        gone = np.clip(hidden - 2 * token, 0, 2)
        areas.append(float(iv.area(np.array([0.0, share, 1.0])[gone])))
    assert found["deletion-auc"].value == pytest.approx(np.mean(areas), rel=1e-5)


ASKED_ONCE = 4  # masks on which a model is asked once whether hiding works in it (hiding.trust)


@dataclass
class Counting(Wrapped):
    """Counts the masks that a planted model is asked about."""

    model: Any
    masks: int = 0

    def frame_masking(self, encoded: Tensor, hypothesis: Any) -> Any:
        inner = self.model.frame_masking(encoded, hypothesis)

        def counted(keep: Tensor) -> Tensor:
            self.masks += len(keep)
            return inner(keep)

        return counted


def test_equal_rankings_share_their_passes(planted: Any, tmp_path: Path, job: Job) -> None:
    job = replace(job, task=task_with(*FORCED))
    store, model = Store(tmp_path), Counting(planted)
    scores_of(model, store, job, [method("energy")])
    # k = 0 ... 12, the two ends once, 11 between them deleted and inserted: one order for all tokens.
    assert model.masks == ASKED_ONCE + 2 + 2 * 11
    scores_of(model, store, job, [method("energy")])
    assert model.masks == ASKED_ONCE + 24, "what is stored is not measured again"
    scores_of(model, store, job, [method("mean-heads")])
    assert model.masks == ASKED_ONCE + 24 + 2 + 3 * 2 * 11


def test_the_plan_says_at_most_what_it_takes(planted: Any, tmp_path: Path, job: Job) -> None:
    forced = replace(job, task=task_with(*FORCED))
    assert hearing.most_passes(forced, methods=1, tokens=3) == 2 + 3 * 2 * 19
    everything = replace(job, task=task_with(*METRICS, *FREE))
    assert hearing.most_passes(everything, 2, 3) == 2 * (2 + 3 * 2 * 19) + 258 + 2 * 2 * 21
    assert hearing.most_passes(replace(job, task=task_with("pearson")), 2, 3) == 0


def test_random_sets_are_measured_once_for_all_methods(
    planted: Any, tmp_path: Path, job: Job
) -> None:
    job = replace(job, task=task_with(*EFFECTS))
    store, model = Store(tmp_path), Counting(planted)
    scores_of(model, store, job, [method("energy"), method("random"), method("mean-heads")])
    assert model.masks == ASKED_ONCE + 2 + 4 * 64


def test_rescoring_needs_no_model_and_says_what_is_missing(
    planted: Any, tmp_path: Path, job: Job
) -> None:
    store, methods = Store(tmp_path), [method("mean-heads"), method("energy")]
    first = scores_of(planted, store, job, methods)
    bench = Bench(planted, store)
    spoken = Spoken(job, stages.decode(bench, job))
    assert rescored(bench, spoken, methods) == first
    bench = Bench(planted, Store(tmp_path / "two"))
    stages.decode(bench, job)
    stages.explain(bench, spoken, methods)
    absent = rescored(bench, spoken, methods)["energy"]
    assert {absent[name].reason for name in (*FORCED, *EFFECTS)} == {"not-measured"}
    assert absent["size"].value == first["energy"]["size"].value


def test_a_model_that_cannot_write_from_encoder_outputs_is_null(
    planted: Any, tmp_path: Path, job: Job
) -> None:
    store, methods = Store(tmp_path), [method("mean-heads")]
    scores_of(planted, store, job, methods)
    bench = Bench(planted, store)
    spoken = Spoken(job, stages.decode(bench, job))
    found = rescored(bench, spoken, methods, absent="unsupported")["mean-heads"]
    assert [found[name].reason for name in FREE] == ["unsupported"] * 2


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        ({}, "uniform", "constant-map"),
        ({"gain": 0.05}, "mean-heads", "prefix-suffices"),
        ({"frames": ((0,),), "total": 2}, "mean-heads", "too-few-frames"),
    ],
)
def test_degenerate_input_is_null_with_its_reason(
    planted: Any, tmp_path: Path, job: Job, change: dict[str, Any], name: str, reason: str
) -> None:
    model = replace(planted, **change)
    found = scores_of(model, Store(tmp_path), job, [method(name)])[name]
    checked = ("deletion-auc", "insertion-auc", *EFFECTS)
    assert {metric: found[metric].reason for metric in checked} == dict.fromkeys(checked, reason)


def test_one_token_has_a_score(planted: Any, tmp_path: Path, job: Job) -> None:
    found = scores_of(
        replace(planted, frames=((1, 2),)), Store(tmp_path), job, [method("mean-heads")]
    )
    assert all(found["mean-heads"][name].value is not None for name in METRICS)


def test_an_encoder_map_does_not_enter_the_spectrogram(
    planted: Any, tmp_path: Path, job: Job
) -> None:
    job = replace(job, task=task_with("deletion-auc-input", "insertion-auc-input"))
    # Half of the frames are loud in the band, so a hidden cell keeps half of its loudness; with this gain the
    # token then loses more than the bound.
    model = replace(planted, gain=2.5)
    found = scores_of(model, Store(tmp_path), job, [method("mean-heads"), method("saliency")])
    assert {s.reason for s in found["mean-heads"].values()} == {"encoder-space-map"}
    # The gradient finds exactly the 16 of 288 cells that the token needs: at 5 % most, at 10 % all are hidden.
    assert found["saliency"]["deletion-auc-input"].value > 0.94  # type: ignore[operator]


def test_input_maps_are_summed_over_the_cells_of_a_frame(planted: Any, job: Job) -> None:
    features = planted.features(np.zeros(1, np.float32))
    hypothesis = planted.decode(features, "en", None, Decoding())
    axes = stages.layout(features, hypothesis)
    values = np.arange(3 * 24 * 2, dtype=np.float64).reshape(3, 24, 2) - 50
    of_map = ranked.RankedMap(
        planted.info, Spoken(job, Decoded(hypothesis, axes, 0.5)), method("saliency"), values
    )
    expected = values.reshape(3, 12, 2, 2).sum((2, 3))
    assert of_map.additive == pytest.approx(expected)


# -- what is written ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writer(Wrapped):
    """A planted model that writes each token whose frames are heard loudly enough, else "x"."""

    model: Any
    batches: list[int]

    def decode_encoded(
        self, encoded: Tensor, source: str, target: str | None, decoding: Decoding
    ) -> list[str]:
        self.batches.append(len(encoded))
        features = self.model.features(np.zeros(1, np.float32))
        hypothesis = self.model.decode(features, source, target, decoding)
        scores = self.model.logits(encoded, hypothesis)
        rows = range(len(hypothesis.tokens))
        loud = torch.stack([scores[:, row, hypothesis.tokens[row]] for row in rows], 1) > 2
        return [
            " ".join(
                text if heard else "x" for text, heard in zip(hypothesis.texts, row, strict=True)
            )
            for row in loud
        ]


def test_free_deletion_by_hand(planted: Any, tmp_path: Path, job: Job) -> None:
    # The mean of the oracle rows is 1/6 on the six loud frames, which go in time order. A word becomes "x"
    # when both its frames are gone: after 2, 4 and 6 of 12 frames, at 20, 35 and 50 %.
    model = Writer(planted, [])
    found = scores_of(model, Store(tmp_path), job, [method("mean-heads")])["mean-heads"]
    wer = [100 / 3 * sum(12 * q // 100 >= gone for gone in (2, 4, 6)) for q in iv.PERCENT]
    assert found["deletion-auc-free"].value == pytest.approx(np.trapezoid(wer, dx=0.05))
    # Inserted: 1, 3, 5 frames bring a word back (one frame of two is loud enough).
    wer = [100 / 3 * sum(12 * q // 100 < back for back in (1, 3, 5)) for q in iv.PERCENT]
    assert found["insertion-auc-free"].value == pytest.approx(np.trapezoid(wer, dx=0.05))
    assert model.batches == [13, 13], "one batch for all steps, equal steps once"


def test_encoder_maps_repeated_over_the_cells_of_their_frames_by_hand(
    planted: Any, tmp_path: Path, job: Job
) -> None:
    """As published: 24 spectrogram frames of 12 channels, the loud ones first, whole frames in time order."""
    job = replace(job, task=task_with("deletion-auc-free-input:resolution=frames,text=plain"))
    # Hidden cells keep half of their loudness. A token is written while its logit 3.5 e is above 2: it is gone when
    # 14 of its 16 cells (channels 4 to 7 of 4 frames) are hidden: 3 frames of 12 cells, and 6 cells of the fourth.
    model = Writer(replace(planted, gain=3.5), [])
    found = scores_of(model, Store(tmp_path), job, [method("mean-heads")])["mean-heads"]
    wer = [100 / 3 * sum(288 * q // 100 >= 48 * n + 42 for n in range(3)) for q in iv.PERCENT]
    score = found["deletion-auc-free-input"]
    assert score.value == pytest.approx(np.trapezoid(wer, dx=0.05))


@pytest.fixture
def ranking(planted: Any, job: Job) -> Callable[..., np.ndarray]:
    """Return a function to the rows by which a metric ranks the cells of a map: two content tokens and the end."""
    hypothesis = planted.decode(planted.features(np.zeros(1, np.float32)), "en", None, Decoding())
    axes = Layout((5, 6, 7), ("a", "b", "</s>"), (0, 1), 2, 4, 2, 0.01)
    spoken = Spoken(job, Decoded(hypothesis, axes, 0.04))

    def rows(values: np.ndarray, metric: str) -> np.ndarray:
        of_map = ranked.RankedMap(planted.info, spoken, method("saliency"), values)
        found = registry.metrics.resolve(Call.parse(metric))
        return ranked.ranking_rows(*found, of_map)

    return rows


def test_parameters_say_which_rows_rank_the_cells_and_how_finely(
    ranking: Callable[..., np.ndarray],
) -> None:
    values = np.arange(24, dtype=np.float64).reshape(3, 4, 2)
    for asked in ("", ":resolution=cells,rows=content"):
        plain = ranking(values, f"deletion-auc-free-input{asked}")
        assert plain == pytest.approx(values[:2].reshape(2, 8))
    whole = ranking(values, "deletion-auc-free-input:rows=generated")
    assert whole == pytest.approx(values.reshape(3, 8))
    # Frame maxima of the pairs of spectrogram frames, repeated: one number for each spectrogram frame.
    repeated = ranking(values, "deletion-auc-free-input:resolution=frames,rows=generated")
    expected = [[8 * i + 3] * 2 + [8 * i + 7] * 2 for i in range(3)]
    assert repeated == pytest.approx(np.array(expected))
    assert len(ranking(values, "deletion-auc-free:rows=generated")) == 3


def test_a_plain_error_rate_counts_capitals_and_points() -> None:
    texts = ("Some words", "some words.", "en")
    assert statistics(WER, *texts) == [0.0, 2.0]
    assert statistics(WER, *texts, plain=True) == [2.0, 2.0]
    assert statistics(WER, "Some", " ", "en", plain=True) is None


def test_an_utterance_without_a_target_is_null(planted: Any, tmp_path: Path, job: Job) -> None:
    st = replace(job.task, target_language="de")
    found = scores_of(
        Writer(planted, []), Store(tmp_path), replace(job, task=st), [method("mean-heads")]
    )
    assert found["mean-heads"]["deletion-auc-free"].reason == "no-target-text"


WER = Quality("wer", 50)


def free_score(edits: list[float], words: float) -> Score:
    return iv.auc_free(iv.Redecoded(np.array([[e, words] for e in edits]), WER))


def summed(scores: list[Score]) -> list[Any]:
    return [score.columns.get("statistics") for score in scores]


def test_the_corpus_value_is_that_of_all_texts_at_once() -> None:
    said = ["one two three four", "five six"]
    heard = [
        ["one two three four"] * 5 + ["one two"] * 16,
        ["five six"] * 9 + ["no no no no no"] * 12,
    ]
    scores = [
        iv.auc_free(
            iv.Redecoded(
                np.array([intervene.statistics(WER, text, target, "en") for text in texts]), WER
            )
        )
        for texts, target in zip(heard, said, strict=True)
    ]
    curve = [
        min(100.0, corpus_quality(WER, [heard[0][s], heard[1][s]], said, ["en"] * 2) or 0.0)
        for s in range(21)
    ]
    estimate = corpus_estimate(iv.corpus_auc_free, summed(scores), ["a", "b"], WER, 0)
    assert estimate.value == pytest.approx(np.trapezoid(curve, dx=0.05))
    assert (estimate.n, estimate.n_clusters, estimate.ci_reason) == (2, 2, "fewer-than-5-clusters")


def test_with_equal_lengths_and_no_clipping_it_is_a_plain_mean() -> None:
    rng = np.random.default_rng(0)
    scores = [free_score(rng.integers(0, 9, 21).astype(float).tolist(), 10.0) for _ in range(14)]
    clusters = [str(index // 2) for index in range(14)]
    corpus = corpus_estimate(iv.corpus_auc_free, summed(scores), clusters, WER, 0)
    plain = mean_estimate([s.value for s in scores], clusters, seed=0)
    assert corpus.value == pytest.approx(plain.value)
    assert (corpus.low, corpus.high) == pytest.approx((plain.low, plain.high))
    assert (corpus.n, corpus.n_clusters) == (14, 7)


def test_utterances_without_a_value_do_not_enter_the_corpus() -> None:
    scores = [Score(None, "no-target-text"), free_score([0.0] * 11 + [5.0] * 10, 10.0)]
    estimate = corpus_estimate(iv.corpus_auc_free, summed(scores), ["a", "b"], WER, 0)
    assert (estimate.value, estimate.n) == (scores[1].value, 1)
    nothing = corpus_estimate(iv.corpus_auc_free, summed(scores[:1]), ["a"], WER, 0)
    assert (nothing.value, nothing.reason) == (None, "no-defined-value")


# -- a whole run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tiny_whisper_folder: Path, clip: Any, tmp_path_factory: Any) -> RunResult:
    import json

    import soundfile

    folder = tmp_path_factory.mktemp("run")
    lines = []
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", clip(0.6, number), 16000, subtype="FLOAT")
        line = {"id": str(number), "audio": f"{number}.wav", "language": "en"}
        lines.append(json.dumps(line | {"transcript": "some words"}))
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n")
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(folder / "clips.jsonl"),
        masks=12,
        references=(Call("spes-encoder"),),
        metrics=tuple(Call(name) for name in ("pearson", *METRICS, *FREE)),
    )
    options = ExecutionOptions(str(folder / "out"), str(folder / "cache"), "cpu")
    (first,) = evaluate(spec, options)
    return first


def test_a_run_writes_them_without_a_reference(result: RunResult) -> None:
    assert [(s.metric, s.reference) for s in result.scores] == [
        ("pearson", "spes-encoder"),
        *((name, None) for name in (*METRICS, *FREE)),
    ]
    assert list(result.references[0].ceiling) == ["pearson"]
    assert result.task.headline == {"metric": "pearson", "reference": "spes-encoder"}
    for score in result.scores[1:]:
        assert len(result.utterances[score.metric]) == 2
        assert len(result.utterances[f"floor:{score.metric}"]) == 2
        assert (score.skill.value, score.skill.reason) == (None, "no-ceiling")
        assert (score.ceiling.value, score.ceiling.reason) == (None, "no-ceiling")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_passes_run_in_the_precision_of_the_references_and_results_say_so(
    tiny_whisper_folder: Path, make_manifest: Callable[..., Path], tmp_path: Path, precision: Any
) -> None:
    spec = RunSpec(
        model=f"whisper:{tiny_whisper_folder}",
        methods=(Call("mean-heads"),),
        tasks=("asr",),
        data=str(make_manifest({"a": 0.5, "b": 0.7})),
        masks=12,
        references=(Call("spes-encoder").with_params(precision=precision),),
        metrics=(Call("pearson"), Call("deletion-auc"), Call("sensitivity-n"), Call("size")),
    )
    options = ExecutionOptions(str(tmp_path / "out"), str(tmp_path / "cache"), "cpu")
    (found,) = evaluate(spec, options)
    for name in ("deletion-auc", "sensitivity-n"):
        computation = found.score(name).computation
        assert computation["precision"] == {precision: 2}
        assert computation["precision_reason"] == {"requested": 2}
        assert computation["batch_size"] == 64
    # Agreement and the size of a map run no passes with hidden cells of their own.
    assert found.score("pearson").computation == found.score("size").computation == {}


def test_without_a_choice_of_the_references_passes_run_as_the_model_does() -> None:
    task = load_task("asr-en")
    drop = registry.references.resolve(Call("spes-encoder-drop").with_params(masks=12))[1]
    assert ranked.precision(replace(task, references=(drop,))) is None


def test_the_corpus_value_follows_from_the_columns(result: RunResult) -> None:
    sums = np.sum(result.utterances["deletion-auc-free:statistics"], axis=0)
    expected = np.trapezoid(np.minimum(100 * sums[:, 0] / sums[:, 1], 100), dx=0.05)
    assert result.score("deletion-auc-free").value == pytest.approx(expected)


def test_whisper_writes_from_a_batch_what_it_writes_alone(tiny: Any, clip: Any) -> None:
    features = tiny.features(clip(1.2))
    encoded = tiny.encode(features.values[None])
    batch = encoded.repeat(3, 1, 1)
    batch[1, :20], batch[2] = 0, 0
    together = tiny.decode_encoded(batch, "en", None, Decoding())
    alone = [tiny.decode_encoded(one[None], "en", None, Decoding())[0] for one in batch]
    assert together == alone
    assert together[0] == tiny.decode(features, "en", None, Decoding()).text
    assert len(set(together)) > 1
