"""The contract of a dataset, as checks that run on any registered or described one.

A dataset comes with its manifests. A corpus is read as it is distributed, from the folder `root`, and
`xbench data prepare` makes its manifests: it is tried on the first clips of `root`, or without one on what is
prepared on this machine.

    description    it states summary, source, licence and splits; a corpus also its layout below ROOT, where it comes
                   from, and the mean length of its clips
    signature      the function it names takes the declared parameters as keywords, and needs no other
    refuses        a corpus refuses a folder without its files, in one sentence; a dataset gives the path of a manifest
                   for every split it states, or refuses it in one sentence
    clips          a reader yields `Clip`s, twice the same, no id twice, and only the languages that are asked for
    manifest       there is a manifest that can be read: lines as in its schema, no id twice, no audio file missing, no
                   word after the end of its clip
    audio          the first clips can be decoded and speech may be in them (`data.audio_checks`)
    languages      languages of speech and translations are codes of ISO 639, such as en
    clusters       every clip names its speaker or talk, or none does, and there are several: intervals rest on them
    disjoint       no recording is in two splits: what is learned on one would be tested on it

A check that a dataset cannot pass, for a reason, is declared in `expected_failures`; a declared failure that passes
is a failure, so that declarations do not outlive their reason.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.data.audio import check_audio
from xbench.data.corpora.clip import Clip
from xbench.data.manifest import Manifest, Utterance, read_manifest
from xbench.data.prepare import read_corpus, write_manifest
from xbench.data.prepared import prepared_manifest
from xbench.description import CorpusDescription, DatasetDescription
from xbench.errors import EnvironmentProblem, UsageError, XbenchError, nearest
from xbench.schemas import InvalidFile
from xbench.spec import Call
from xbench.testing.battery import Battery, Broken, CheckResult, NotApplicable
from xbench.testing.calls import MISFIT, check_signature, completed

_CLIPS = 20  # of each language that are read of a corpus
_DECODED = 3  # clips of each split that are decoded

# ISO 639-1. Languages without such a code have one of three letters (639-3), which is not looked up.
_TWO_LETTERS = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo "
    "es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka "
    "kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng "
    "nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su "
    "sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


def check_dataset(
    dataset: str | Call | DatasetDescription,
    root: str | Path | None = None,
    split: str | None = None,
    *,
    languages: Sequence[str] = (),
    targets: Sequence[str] = (),
    expected_failures: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run the whole battery; never raises for what the dataset does.

    dataset: a registered name, with parameters if wanted (`hub:text=sentence`), or a description. root: the folder of
    a corpus, and its split (None: the first it states), languages and target languages, as for `xbench data prepare`.
    expected_failures: check to reason.
    Raises UsageError for an unknown dataset, parameter, split or check, and for a root that is of no use.
    """
    if isinstance(dataset, DatasetDescription):
        description, given = dataset, Call(dataset.name)
    else:
        given = Call.parse(dataset) if isinstance(dataset, str) else dataset
        description = registry.datasets.get(given.name)
    call = completed(description, given)
    is_corpus = isinstance(description, CorpusDescription)
    if root is not None and not is_corpus:
        raise UsageError(f"dataset '{description.name}' comes with its manifests: it has no root")
    if split is not None and split not in description.splits and not _generic(description):
        known = f"{nearest(split, description.splits)}; it has {', '.join(description.splits)}"
        raise UsageError(f"dataset '{description.name}' has no split '{split}'{known}")
    chosen = split or next(iter(description.splits), "test")
    with tempfile.TemporaryDirectory() as folder:
        place = None if root is None else str(root)
        subject = _Subject(
            description, call, place, chosen, tuple(languages), tuple(targets), Path(folder)
        )
        return BATTERY.run(subject, expected_failures)


def _generic(description: DatasetDescription) -> bool:
    return isinstance(description, CorpusDescription) and description.generic


@dataclass(frozen=True)
class _Subject:
    """A dataset with complete parameters, where a corpus lies, and a folder for what is made of it."""

    description: DatasetDescription
    call: Call
    root: str | None
    split: str
    languages: tuple[str, ...]
    targets: tuple[str, ...]
    folder: Path

    @property
    def corpus(self) -> CorpusDescription:
        """The description of a corpus; NotApplicable for a dataset that comes with its manifests."""
        if not isinstance(self.description, CorpusDescription):
            raise NotApplicable("it comes with its manifests")
        return self.description

    def read(self, root: str, languages: tuple[str, ...] | None = None) -> list[Clip]:
        """Read the first clips of a corpus."""
        asked = self.languages if languages is None else languages
        clips = read_corpus(
            self.corpus,
            self.call,
            root,
            self.split,
            languages=asked,
            targets=self.targets,
            limit=_CLIPS,
        )
        return list(clips)

    @cached_property
    def clips(self) -> list[Clip]:
        """The first clips below the root that was given."""
        if self.root is None:
            raise NotApplicable("no root was given to read the corpus from")
        return self.read(self.root)

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """The manifests of all splits that are on this machine, by split."""
        paths = self._made() if self.root is not None else self._found()
        there = {split: path for split, path in paths.items() if path.is_file()}
        if not there:
            raise NotApplicable(self._nothing_there())
        return {split: _readable(path, split) for split, path in there.items()}

    def _made(self) -> dict[str, Path]:
        made = write_manifest(self.clips, self.folder / f"{self.split}.jsonl", workers=1)
        if made.problems:
            raise Broken(f"{len(made.problems)} clips are left out, the first: {made.problems[0]}")
        return {self.split: made.manifest}

    def _found(self) -> dict[str, Path]:
        splits = self.description.splits
        if isinstance(self.description, CorpusDescription):
            return {split: prepared_manifest(self.description.name, split) for split in splits}
        found = {}
        for split in splits:
            try:
                found[split] = self.description.load()(split)
            except XbenchError:
                continue  # `refuses` looks at how it says so
        return found

    def _nothing_there(self) -> str:
        name = self.description.name
        if isinstance(self.description, CorpusDescription):
            return (
                f"no split is prepared on this machine; give its folder as root, or run `xbench data prepare {name} "
                f"ROOT --split {self.split}`"
            )
        return f"no split is on this machine; see `xbench show dataset {name}` for its source"

    def utterances(self) -> list[tuple[str, Utterance]]:
        """Return all utterances, each with its split."""
        return [(split, u) for split, m in self.manifests.items() for u in m.utterances]


def _readable(path: Path, split: str) -> Manifest:
    try:
        return read_manifest(path)
    except InvalidFile as problem:
        more = f" and {len(problem.problems) - 1} more" if len(problem.problems) > 1 else ""
        raise Broken(f"{split}: {problem.problems[0]}{more}") from None


# -- what it says of itself -----------------------------------------------------------------------


def _check_description(subject: _Subject) -> None:
    description = subject.description
    for name in ("summary", "source", "licence"):
        if not getattr(description, name).strip():
            raise Broken(f"its {name} is empty")
    if not description.splits:
        raise Broken("it states no split")
    if not isinstance(description, CorpusDescription):
        return
    for name in ("layout", "obtain"):
        if not getattr(description, name).strip():
            raise Broken(f"its {name} is empty")
    if "ROOT" not in description.layout:
        raise Broken("its layout does not show what ROOT holds")
    seconds = description.clip_seconds
    if seconds is not None and not seconds > 0:
        raise Broken(f"its clips last {seconds:g} s")


def _check_signature(subject: _Subject) -> None:
    check_signature(subject.description)


def _check_refuses(subject: _Subject) -> None:
    if isinstance(subject.description, CorpusDescription):
        empty = subject.folder / "empty"
        empty.mkdir()
        found = _in_one_sentence("an empty folder", lambda: subject.read(str(empty)))
        if found is not None:
            raise Broken(f"an empty folder gives {len(found)} clips instead of a refusal")
        return
    for split in subject.description.splits:
        path = _in_one_sentence(f"split {split}", partial(subject.description.load(), split))
        if path is not None and not isinstance(path, Path):
            raise Broken(f"split {split} gives a {type(path).__name__}, not a Path")


def _in_one_sentence(what: str, call: Callable[[], Any]) -> Any:
    """Return what a call gives, None where it refuses as it should; Broken where it ends in another way."""
    try:
        return call()
    except (UsageError, EnvironmentProblem) as refusal:
        if not str(refusal).strip() or "\n" in str(refusal):
            raise Broken(f"{what} is refused, but not in one line: {str(refusal)!r}") from None
        return None
    except Exception as problem:
        kind = type(problem).__name__
        raise Broken(
            f"{what} ends in {kind}: {problem}; raise UsageError or EnvironmentProblem with what is missing"
        ) from problem


# -- clips of a corpus ----------------------------------------------------------------------------


def _check_clips(subject: _Subject) -> None:
    clips = subject.corpus and subject.clips
    assert subject.root is not None
    if not clips:
        raise Broken("it yields no clip")
    for clip in clips:
        if not isinstance(clip, Clip):
            raise Broken(f"it yields a {type(clip).__name__}, not a Clip")
        if (clip.offset is None) != (clip.duration is None):
            raise Broken(f"{clip.id}: a part of a recording needs both offset and duration")
    twice = [id for id, count in Counter(c.id for c in clips).items() if count > 1]
    if twice:
        raise Broken(f"{len(twice)} ids occur twice, such as '{twice[0]}'")
    if subject.read(subject.root) != clips:
        raise Broken("read a second time it yields other clips")
    one = clips[0].language
    for asked in {subject.languages or (one,), (one,)}:
        others = {c.language for c in subject.read(subject.root, asked)} - set(asked)
        if others:
            raise Broken(f"asked for {', '.join(asked)}, it yields clips in {min(others)}")


# -- manifests ------------------------------------------------------------------------------------


def _check_manifest(subject: _Subject) -> None:
    for split, manifest in subject.manifests.items():
        if not manifest.utterances:
            raise Broken(f"{split}: the manifest names no utterance")


def _check_audio(subject: _Subject) -> None:
    for manifest in subject.manifests.values():
        for utterance in manifest.utterances[:_DECODED]:
            check_audio(utterance.audio)


def _check_languages(subject: _Subject) -> None:
    for split, utterance in subject.utterances():
        for code in (utterance.language, *dict(utterance.translations)):
            if not (code in _TWO_LETTERS.split() or re.fullmatch("[a-z]{3}", code)):
                raise Broken(f"{split}, {utterance.id}: '{code}' is no language code such as en")


def _check_clusters(subject: _Subject) -> None:
    several = False
    for split, manifest in subject.manifests.items():
        assumed = [u.id for u in manifest.utterances if u.cluster_assumed]
        if assumed and len(assumed) < len(manifest.utterances):
            raise Broken(f"{split}: some clips name their cluster, '{assumed[0]}' does not")
        clusters = {u.cluster for u in manifest.utterances}
        # The first clips of a corpus may well be of one speaker; a whole split may not.
        whole = subject.root is None
        if whole and len(clusters) == 1 and len(manifest.utterances) > 1:
            raise Broken(f"{split}: all clips are of one cluster, {min(clusters)}")
        several = several or not assumed
    if not several:
        raise NotApplicable("no clip names its cluster: each counts as one of its own")


def _check_disjoint(subject: _Subject) -> None:
    if len(subject.manifests) < 2:
        raise NotApplicable("it takes two splits")
    recordings = {
        split: {u.audio_sha256: u.id for u in manifest.utterances}
        for split, manifest in subject.manifests.items()
    }
    for (one, first), (other, second) in combinations(recordings.items(), 2):
        if shared := sorted(first.keys() & second.keys()):
            raise Broken(
                f"{len(shared)} recordings are in both {one} and {other}, such as '{first[shared[0]]}'"
            )


CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "description": _check_description,
    "signature": _check_signature,
    "refuses": _check_refuses,
    "clips": _check_clips,
    "manifest": _check_manifest,
    "audio": _check_audio,
    "languages": _check_languages,
    "clusters": _check_clusters,
    "disjoint": _check_disjoint,
}
BATTERY = Battery(CHECKS, {"signature": MISFIT})
