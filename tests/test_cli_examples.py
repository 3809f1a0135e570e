"""`xbench examples export`, `validate` and `leaderboard build --examples` as users meet them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Run


def test_from_a_run_to_pages(
    run: Run,
    tiny_whisper_folder: Path,
    make_manifest: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XBENCH_CACHE", str(tmp_path / "cache"))
    clips = str(make_manifest({"a": 0.5, "b": 0.6}))
    common: Any = ("--data", clips, "--masks", "12", "--reference", "spes-encoder")
    model = f"whisper:{tiny_whisper_folder}"
    assert run("eval", "--model", model, "--method", "mean-heads", *common)[0] == 0
    code, out, err = run("examples", "export", "results", "--out", "bundles", "--limit", "1")
    assert (code, err) == (0, "")
    assert "1 bundle under bundles" in out
    (file,) = Path("bundles").rglob("bundle.json")
    assert run("validate", "bundles")[:2] == (0, "1 file valid\n")
    built = run("leaderboard", "build", "results", "--out", "site", "--examples", "bundles")
    assert built[0] == 0, built[2]
    assert Path(f"site/examples/{file.parent.name}.html").is_file()

    for arguments, message in (
        (("--ids", "aa"), "no result has an utterance 'aa', did you mean 'a'?"),
        (("--ids", ","), "--ids is empty"),
        (("--audio", "all"), "--audio 'all' is not allow-list or none"),
        (("--cache", "nowhere"), "the store nowhere does not know this run"),
        (("--data", "nowhere.jsonl"), "nowhere.jsonl: the manifest of the clips is not there"),
    ):
        code, out, err = run("examples", "export", "results", "--out", "more", *arguments)
        assert (code, out) == (2, ""), arguments
        assert message in err
        assert err.count("\n") == 1, err
    assert not Path("more").exists()

    file.write_text(file.read_text().replace('"kind":"method"', '"kind":"great"'))
    code, _, err = run("validate", str(file))
    assert code == 2
    assert "maps[1].kind: expected one of reference, method, control" in err
