"""Read the bundles of `xbench examples export`: one folder per utterance, `bundle.json` and audio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xbench.bundle import AUDIO, FILE, PUBLIC_LICENCES, read_bundle
from xbench.errors import UsageError
from xbench.inputs import bounded
from xbench.schemas import InvalidFile
from xbench.site.beside import with_tokens
from xbench.site.charts import number
from xbench.site.load import Refusal
from xbench.site.tables.entries import ListedRun, Metric
from xbench.site.tables.tabulate import Tables
from xbench.site.text import harmless, readable

LARGEST_CLIP = 8 * 1024 * 1024
WITHHELD = {
    "not-asked-for": "the clip is not shipped with this site.",
    "clips-given-with-data": "the clip is of no data set that xbench knows, and nobody stated its licence.",
    "licence-not-allowed": "the licence of the clip does not allow us to publish it.",
}


@dataclass(frozen=True)
class Example:
    """One exported utterance: its bundle, its clip, and which share of the other clips it does better than.

    better: {map id: {score: (clips beaten, other clips)}}.
    """

    id: str
    bundle: Mapping[str, Any]
    audio: str | None
    better: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)


def read_examples(
    folder: Path | None, most: int, audio: str
) -> tuple[tuple[Example, ...], dict[str, bytes], tuple[Refusal, ...]]:
    """Return examples, the audio files to publish by path, and the bundles that were refused."""
    if folder is None:
        return (), {}, ()
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder of examples")
    found, media, refused = [], {}, []
    for file in sorted(folder.glob(f"*/{FILE}"))[:most]:
        try:
            bundle = read_bundle(file)
            sound = _audio(file.parent, bundle) if audio == "allow-list" else None
        except UsageError as problem:
            told = problem.problems[0] if isinstance(problem, InvalidFile) else str(problem)
            refused.append(Refusal(f"{readable(file.parent.name)}/{FILE}", readable(told, 400)))
            continue
        id = bundle["id"]
        path = None
        if sound is not None:
            path = f"media/{id}.wav"
            media[path] = sound
        elif bundle["audio"] is not None:
            reason = "not-asked-for" if audio == "none" else "licence-not-allowed"
            bundle |= {"audio": None, "audio_reason": reason}
        found.append(Example(id, _shown(bundle), path))
    return tuple(found), media, tuple(refused)


def comparable(tables: Tables, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Return of each example what the comparison needs: its title, and its map of each configured method."""
    configs = {
        (c.method, _key(c.facts["params"])): c.slug
        for c in sorted(tables.configs, key=lambda c: not c.oracle)  # one that is no oracle wins
    }
    found = []
    for example in examples:
        maps = {
            slug: entry["id"]
            for entry in example.bundle["maps"]
            if entry["kind"] != "reference"
            and (slug := configs.get((entry["method"], _key(entry["params"]))))
        }
        title = f"{example.bundle['utterance']}, {example.bundle['model']}"
        found.append({"id": example.id, "title": title, "maps": maps})
    return [example for example in found if len(example["maps"]) > 1]


def named_as_on_boards(tables: Tables, example: Example) -> Example:
    """Return the example with the names under which its methods stand on the boards."""
    labels = {(c.method, _key(c.facts["params"])): c.label for c in tables.configs if not c.oracle}
    maps = [
        {**m, "label": labels.get((m["method"], _key(m["params"])), m["label"])}
        for m in example.bundle["maps"]
    ]
    return replace(example, bundle={**example.bundle, "maps": maps})


def better_than(tables: Tables, example: Example) -> dict[str, dict[str, tuple[int, int]]]:
    """Return {map id: {score: (clips it does better than, other clips)}} under the same method.

    A score is left out where no result has a value for this clip and for another. Of several results one
    that states the bundle's own value counts, else one that is no oracle, else the newest.
    """
    bundle = example.bundle
    where = (bundle["task"], bundle["model"])
    here = [run for run in tables.runs if (run.task.name, run.model.name) == where]
    here.sort(key=lambda run: (not run.config.oracle, run.data["provenance"]["finished"], run.id))
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for entry in bundle["maps"]:
        call = (entry["method"], _key(entry["params"]))
        runs = [r for r in here if (r.config.method, _key(r.config.facts["params"])) == call]
        for name, stated in entry["scores"].items():
            metric = tables.metrics.get(name.partition("@")[0])
            if metric is None:
                continue
            counted = [
                c for r in runs if (c := _clips_beaten(r, name, bundle["utterance"], metric))
            ]
            same = [c for c in counted if number(c.mine, 3) == number(stated, 3)]
            if counted:
                chosen = (same or counted)[-1]
                found.setdefault(entry["id"], {})[name] = (chosen.beaten, chosen.others)
    return found


@dataclass(frozen=True)
class _ClipsBeaten:
    mine: float
    beaten: int
    others: int


def _clips_beaten(run: ListedRun, name: str, utterance: str, metric: Metric) -> _ClipsBeaten | None:
    """Return the value of an utterance, and how many of the other values of this result it beats."""
    columns = run.data["utterances"]
    values = dict(zip(columns["id"], columns.get(name, ()), strict=False))
    mine = values.pop(utterance, None)
    others = [v for v in values.values() if isinstance(v, int | float)]
    if not isinstance(mine, int | float) or not others:
        return None
    worse = sum(v < mine if metric.higher else v > mine for v in others)
    return _ClipsBeaten(mine, worse, len(others))


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def _shown(bundle: dict[str, Any]) -> Mapping[str, Any]:
    """Return the bundle with every text in it harmless, the names of its scores, and why there is no audio."""
    arrays = list(_arrays(bundle))
    data = [array.pop("data") for array in arrays]  # long base64 texts, checked, not for reading
    made: dict[str, Any] = harmless(bundle)
    for array, text in zip(_arrays(made), data, strict=True):
        array["data"] = text
    made = with_tokens(made)
    made["withheld"] = WITHHELD.get(made["audio_reason"])
    if made["audio_reason"] == "not-asked-for" and made["licence"] in PUBLIC_LICENCES:
        made["withheld"] = (
            "the clip is not shipped with this site, though its licence would allow it."
        )
    names = (name for entry in made["maps"] for name in entry["scores"])
    made["score_names"] = list(dict.fromkeys(names))  # as results have them, the headline first
    return made


def _arrays(bundle: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield bundle["spectrogram"]
    yield from bundle["maps"]
    yield from bundle.get("volumes", ())
    yield from bundle.get("heads", ())


def _audio(folder: Path, bundle: Mapping[str, Any]) -> bytes | None:
    """Return the content of the clip, if it may be published."""
    if bundle["audio"] is None or bundle["licence"] not in PUBLIC_LICENCES:
        return None
    file = folder / AUDIO
    try:
        content = bounded(file, LARGEST_CLIP)
    except OSError as problem:
        raise UsageError(f"{AUDIO}: {problem.strerror}") from None
    if not content:
        raise UsageError(f"{AUDIO}: 0 bytes, a clip has 1 to {LARGEST_CLIP}")
    if not content.startswith(b"RIFF") or content[8:12] != b"WAVE":
        raise UsageError(f"{AUDIO} is not what its name says")
    return content
