"""Sanity gates of a method: is its map of this model, of this token, of the audio, and the same every time?

Judged on up to 16 utterances, chosen by the seed. Similarity is the mean Pearson correlation of the content
rows on encoder frames. The hypothesis stays that of the trained model throughout. A gate that cannot be
judged is `not-applicable` with the reason; records are stored, since some take many passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

from xbench import stats
from xbench.errors import Unsupported
from xbench.hiding.batching import out_of_memory
from xbench.methods.watch import again_if_disturbed
from xbench.metrics.sanity import (
    Gate,
)
from xbench.results import GateRecord
from xbench.runner import stages
from xbench.runner.bench import Bench
from xbench.runner.gate_checks import CHECKS, Found, Judged, Sampled
from xbench.runner.keys import Spoken, gate_key
from xbench.runner.plan import Method
from xbench.runner.walk import fault
from xbench.spec import content_hash

UTTERANCES = 16


@again_if_disturbed
def judge_gates(
    bench: Bench,
    gates: Sequence[Gate],
    spoken: Sequence[Spoken],
    method: Method,
) -> list[GateRecord]:
    """Return the record of every gate for one method; what the store holds is not judged again."""
    sample = sorted(
        (each for each in spoken if not each.decoded.unexplained),
        key=lambda each: content_hash([each.job.seed, each.job.utterance.audio_sha256]),
    )[:UTTERANCES]
    judged: Judged | None = None
    records = []
    for gate in gates:
        key = gate_key(bench.info, sample, method, gate.name, gate.version)
        stored = bench.made(key)
        if stored is None:
            judged = judged or Judged(
                bench.model,
                method,
                tuple(
                    Sampled(
                        each.job,
                        each.decoded,
                        stages.read_features(bench.model, each.job.utterance)[0],
                    )
                    for each in sample
                ),
                spoken[0].job.seed if spoken else 0,
                bench.watch,
            )
            record = _judge(gate, judged)
            if record is None:  # not stored: with more memory it can be judged
                record = _not_applicable(gate, "it ran out of memory")
            else:
                bench.put(key, {}, asdict(record))
        else:
            record = GateRecord(**stored.facts)
        records.append(record)
    return records


def _judge(gate: Gate, judged: Judged) -> GateRecord | None:
    """Return the record of one gate; None where memory ran out."""
    try:
        if "partner" in judged.method.description.needs:
            raise Unsupported("the map is that of another utterance")
        if not judged.clips:
            raise Unsupported("no hypothesis to explain")
        found = CHECKS[gate.name](judged)
    except Unsupported as problem:
        return _not_applicable(gate, str(problem))
    except BaseException as problem:  # noqa: BLE001  # a method may fail in any way
        if isinstance(problem, Exception) and out_of_memory(problem):
            return None
        return _not_applicable(gate, f"it failed: {fault(problem, judged.method.ours)}")
    return _verdict(gate, found, [clip.job.utterance.cluster for clip in judged.clips], judged.seed)


def _not_applicable(gate: Gate, reason: str) -> GateRecord:
    return GateRecord(gate.name, "not-applicable", None, None, gate.threshold, 0, reason)


def _verdict(gate: Gate, found: Found, clusters: Sequence[str], seed: int) -> GateRecord:
    """Hold the values against the threshold by the gate's rule."""
    threshold = gate.threshold if found.threshold is None else found.threshold
    defined = [value for value in found.values if value is not None]
    if not defined:
        return _not_applicable(gate, "no row of the map varies")
    assert threshold is not None
    if gate.rule == "largest":
        passed = max(defined) <= threshold
        value, interval = max(defined), None
    else:
        estimate = stats.mean_estimate(list(found.values), clusters, seed=seed)
        assert estimate.value is not None
        value = estimate.value
        if estimate.n_clusters < stats.FEWEST_CLUSTERS:
            return replace(
                _not_applicable(gate, "fewer-than-5-clusters"),
                value=value,
                threshold=threshold,
                n=len(defined),
            )
        # Where all clusters agree, the value is its own limit.
        low = value if estimate.low is None else estimate.low
        high = value if estimate.high is None else estimate.high
        interval = None if estimate.low is None else [low, high]
        passed = high < threshold if gate.rule == "upper" else low > threshold
    status: Literal["pass", "fail"] = "pass" if passed else "fail"
    return GateRecord(gate.name, status, value, interval, threshold, len(defined), found.remark)
