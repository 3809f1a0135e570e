"""Which other utterance a method gets that compares with one; the same whichever process chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xbench.runner.keys import Spoken
from xbench.spec import content_hash


def with_partners(spoken: Mapping[str, Spoken]) -> dict[str, Spoken]:
    """Give every utterance a partner, where there is one."""
    return {
        id_: replace(own, partner=choose_partner(own, spoken.values()))
        for id_, own in spoken.items()
    }


def choose_partner(own: Spoken, all_spoken: Iterable[Spoken]) -> Spoken | None:
    """Choose another utterance of another cluster and another hypothesis, by the seed; None if there is none."""
    others = [
        other
        for other in all_spoken
        if not other.decoded.unexplained
        and other.job.utterance.cluster != own.job.utterance.cluster
        and other.decoded.hypothesis.tokens != own.decoded.hypothesis.tokens
    ]
    audio = own.job.utterance.audio_sha256
    return min(
        others,
        # The id decides between two utterances of the same audio, so that the order of clips never does.
        key=lambda other: (
            content_hash([own.job.seed, audio, other.job.utterance.audio_sha256]),
            other.job.utterance.id,
        ),
        default=None,
    )
