"""Clips of which it is known what can be heard in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Run
from xbench.data.audio import read_audio
from xbench.data.listening import make_listening, noise_like
from xbench.data.manifest import read_manifest
from xbench.errors import UsageError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three English clips of two speakers and an Italian one, each a tone of a second."""
    lines = []
    clips = [("a", "en", "one"), ("b", "en", "one"), ("c", "en", "two"), ("d", "it", "three")]
    for number, (name, language, speaker) in enumerate(clips):
        tone = 0.2 * np.sin(2 * np.pi * (200 + 100 * number) * np.arange(16_000) / 16_000)
        soundfile.write(tmp_path / f"{name}.wav", tone, 16_000)
        line = {"id": name, "audio": f"{name}.wav", "language": language, "cluster": speaker}
        lines.append({**line, "transcript": f"text {name}"})
    path = tmp_path / "clips.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_every_construction_says_what_can_be_heard(manifest: Path, tmp_path: Path) -> None:
    made = make_listening(manifest, tmp_path / "made.jsonl", "en")
    assert made.clips == {"speech": 3, "no-speech": 3, "spliced": 3, "looped": 3, "foreign": 1}
    assert made.problems == ()
    by_id = {u.id: u for u in read_manifest(made.manifest).utterances}
    assert {u.language for u in by_id.values()} == {"en"}
    heard = {name: by_id[f"a-{name}"].transcript for name in ("speech", "no-speech", "looped")}
    assert heard == {"speech": "text a", "no-speech": "", "looped": "text a text a"}
    # `b` is of the same speaker.
    assert by_id["a-spliced"].transcript == "text a text c"
    assert by_id["d-foreign"].transcript == ""
    assert by_id["d-foreign"].construction == "foreign"
    assert by_id["a-spliced"].cluster == "one"

    def samples(name: str) -> np.ndarray:
        return read_audio(by_id[name].audio, 16_000)

    def heard_of(name: str) -> np.ndarray:
        return read_audio(tmp_path / f"{name}.wav", 16_000)

    spliced, looped = samples("a-spliced"), samples("a-looped")
    assert len(spliced) == 48_000
    assert spliced[:16_000] == pytest.approx(heard_of("a"), abs=1e-4)
    assert spliced[32_000:] == pytest.approx(heard_of("c"), abs=1e-4)
    assert looped[:16_000] == pytest.approx(looped[-16_000:], abs=1e-6)
    assert len(looped) == 32_000 + 4_800


def test_noise_keeps_spectrum_and_level_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(size=16_001) * np.linspace(0, 1, 16_001)
    noise = noise_like(samples, generator)
    assert np.abs(np.fft.rfft(noise)) == pytest.approx(np.abs(np.fft.rfft(samples)))
    assert (noise**2).mean() == pytest.approx((samples**2).mean())
    assert abs(np.corrcoef(noise, samples)[0, 1]) < 0.05


def test_the_same_seed_makes_the_same_clips(manifest: Path, tmp_path: Path) -> None:
    first, second, other = (
        read_manifest(
            make_listening(manifest, tmp_path / f"{name}.jsonl", "en", seed=seed).manifest
        )
        for name, seed in (("x", 0), ("y", 0), ("z", 1))
    )
    assert [u.audio_sha256 for u in first.utterances] == [u.audio_sha256 for u in second.utterances]
    assert [u.audio_sha256 for u in first.utterances] != [u.audio_sha256 for u in other.utterances]


def test_one_clip_in_the_language_cannot_be_spliced(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 clips with a transcript in 'it'; splicing takes"):
        make_listening(manifest, tmp_path / "made.jsonl", "it")


def test_the_command(run: Run, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.jsonl"
    found = run("data", "listening", str(manifest), "--out", str(out))
    assert found.code == 0, found.err
    assert "13 clips (3 speech, 3 no-speech, 3 spliced, 3 looped, 1 foreign)" in found.out
    refused = run("data", "listening", str(manifest), "--out", str(tmp_path / "made.json"))
    assert (refused.code, "ends in .jsonl" in refused.err) == (2, True)


def test_too_long_clips_are_told_and_not_made(manifest: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", generator.normal(0, 0.1, 16_000 * 16), 16_000)
    made = make_listening(manifest, tmp_path / "made.jsonl", "en")
    assert made.clips["looped"] == 2
    assert any(p.startswith("a-looped: 32.3 s are longer than 30 s") for p in made.problems)
