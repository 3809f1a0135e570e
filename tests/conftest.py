"""Shared fixtures. Every array annotation of the package is checked at runtime while tests run."""

from __future__ import annotations

from jaxtyping import install_import_hook

# Before anything imports xbench. The numeric tower lets an int stand where a float is expected.
install_import_hook("xbench", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# ruff: noqa: E402
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings
from torch import Tensor

from command_line import Run, runner
from installed_plugin import Install, installer
from xbench.case import Case
from xbench.maps import Layout
from xbench.models.protocol import (
    SpeechModel,
)
from xbench.spec import Decoding
from xbench.testing.planted import Planted
from xbench.trace import Trace

RATE = 16000
SHARED = Path(__file__).parents[2] / "shared"

# A busy machine is no failure; enough examples to find what is wrong, few enough to be run often.
settings.register_profile("xbench", deadline=None, max_examples=25)
settings.load_profile("xbench")

torch.set_num_threads(1)  # the models here are too small to share


# -- no network ------------------------------------------------------------------------------------

_LOOPBACK = {"localhost", "::1", "0.0.0.0", "::", ""}  # a test may listen on any of its own
_REACHED: list[str] = []


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what a socket of this process is asked for beyond this machine (an audit hook)."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    if name not in _LOOPBACK and not name.startswith("127."):
        _REACHED.append(name)
        raise PermissionError(f"tests may not reach {name}: no network beyond this machine")


sys.addaudithook(_refuse_network)  # it cannot be taken back, nor gone around


@pytest.fixture(autouse=True)
def no_network() -> Iterator[list[str]]:
    """Fail every test that reaches beyond this machine, even where what it tests swallows the refusal."""
    yield _REACHED
    reached = sorted(set(_REACHED))
    _REACHED.clear()
    assert not reached, f"the test tried to reach {', '.join(reached)}"


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Return the folder of shared models and audio that lies beside the checkout."""
    if not (SHARED / "models").is_dir():
        pytest.skip("needs ../shared (trained models and audio), which is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def micro(shared_folder: Path) -> Any:
    """Return the trained whisper-micro of the shared folder, loaded."""
    from xbench.models.loading import load_model

    return load_model(
        f"whisper:{shared_folder / 'models' / 'whisper-micro-en-zh-he'}", device="cpu"
    )


# -- a tiny Whisper -------------------------------------------------------------------------------

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|it|>",
    "<|zh|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
WINDOW_SECONDS = 2
MELS = 16
CONTENT_TOKENS = 5
PROMPT = 4


@pytest.fixture(scope="session")
def tiny_whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random Whisper with a 2 s window that writes five letters, then end-of-text."""
    return write_tiny_whisper(tmp_path_factory.mktemp("models") / "whisper-tiny-random")


@pytest.fixture(scope="session")
def tiny(tiny_whisper_folder: Path) -> Any:
    """Return the tiny Whisper, loaded."""
    from xbench.models.loading import load_model

    return load_model(f"whisper:{tiny_whisper_folder}", device="cpu")


def write_tiny_whisper(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint folder; other seeds give other weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, SPECIAL[0]])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    timestamps = [f"<|{step / 50:.2f}|>" for step in range(50 * WINDOW_SECONDS + 1)]
    tokenizer.add_tokens(timestamps)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]

    config = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(),
        num_mel_bins=MELS,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=50 * WINDOW_SECONDS,
        max_target_positions=24,
        init_std=0.3,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    torch.manual_seed(seed)
    network = WhisperForConditionalGeneration(config)
    letters = [vocabulary[letter] for letter in "abcdefghijklmnopqrstuvwxyz"]
    with torch.no_grad():
        decoder = network.model.decoder
        embedding = decoder.embed_tokens.weight
        # Only letters are likely, and the position after the fifth asks for end-of-text.
        scale = torch.full((len(embedding), 1), 0.05)
        scale[letters] = 1.5
        scale[[i for name, i in ids.items() if name not in SPECIAL[:1]]] = 0.6
        embedding *= scale
        ending = torch.nn.functional.normalize(torch.randn(config.d_model), dim=0)
        decoder.embed_positions.weight[PROMPT - 1 + CONTENT_TOKENS :] += 40 * ending
        embedding[end] = 5 * ending
        embedding[letters] -= (embedding[letters] @ ending)[:, None] * ending
    settings = {
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "is_multilingual": True,
        "lang_to_id": {f"<|{lang}|>": ids[f"<|{lang}|>"] for lang in ("en", "it", "zh")},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "max_length": 24,
        "return_timestamps": False,
        "begin_suppress_tokens": [end],
        "suppress_tokens": [],
    }
    network.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(settings))
    tokenizer_config = {
        "tokenizer_class": "WhisperTokenizer",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[0],
        "unk_token": SPECIAL[0],
        "extra_special_tokens": list(SPECIAL[1:]),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    preprocessor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "chunk_length": WINDOW_SECONDS,
        "feature_size": MELS,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": WINDOW_SECONDS * RATE,
        "nb_max_frames": 100 * WINDOW_SECONDS,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": RATE,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


# -- audio and manifests --------------------------------------------------------------------------


def tones(seconds: float, seed: int = 0) -> np.ndarray:
    """Return a few tones and some noise that change over time."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    audio = 0.02 * generator.standard_normal(len(time))
    for _ in range(4):
        pitch, begin = generator.uniform(150, 3000), generator.uniform(0, 0.7 * seconds)
        audio += 0.2 * np.sin(2 * np.pi * pitch * time) * (abs(time - begin) < 0.2 * seconds)
    return audio.astype(np.float32)


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes WAV files and a manifest of them.

    Each argument names a clip: seconds, or samples, or bytes of a file; fields of its line may
    be given as a dict beside it.
    """

    def write(clips: dict[str, Any], fields: dict[str, dict[str, Any]] | None = None) -> Path:
        lines = []
        for number, (name, clip) in enumerate(clips.items()):
            path = tmp_path / f"{name}.wav"
            if isinstance(clip, bytes):
                path.write_bytes(clip)
            else:
                samples = tones(clip, number) if isinstance(clip, int | float) else clip
                soundfile.write(path, samples, RATE, subtype="FLOAT")
            line = {
                "id": name,
                "audio": path.name,
                "language": "en",
                "transcript": f"word {number}",
            }
            lines.append(json.dumps(line | (fields or {}).get(name, {})))
        manifest = tmp_path / "clips.jsonl"
        manifest.write_text("\n".join(lines) + "\n")
        return manifest

    return write


# -- a model whose evidence is known --------------------------------------------------------------


@pytest.fixture
def planted() -> Planted:
    """Return the planted model; `dataclasses.replace` makes other sizes."""
    return Planted()


@pytest.fixture
def case_of() -> Callable[..., Case]:
    """Return a function that decodes audio (or nothing, for the planted model) into a case."""

    def build(model: SpeechModel, audio: np.ndarray | None = None, key: str = "clip") -> Case:
        samples = np.zeros(RATE, dtype=np.float32) if audio is None else audio
        features = model.features(samples)
        hypothesis = model.decode(features, "en", None, Decoding())
        return Case(model, features, hypothesis, key)

    return build


@pytest.fixture(scope="session")
def clip() -> Callable[..., np.ndarray]:
    """Return the function that makes a clip: clip(seconds, seed)."""
    return tones


def trace_of(attention: Tensor, content: tuple[int, ...] | None = None) -> Trace:
    """Return a trace that holds this cross-attention [layer, head, token, frame] and nothing else."""
    rows, frames = attention.shape[2:]
    axes = Layout(
        tokens=tuple(range(rows)),
        texts=tuple(str(row) for row in range(rows)),
        content=tuple(range(rows)) if content is None else content,
        frames=frames,
        melframes=2 * frames,
        stride=2,
        melframe_seconds=0.01,
    )
    return Trace(axes, attention, torch.zeros(attention.shape[:3]), 1)


@pytest.fixture(scope="session")
def make_trace() -> Callable[..., Trace]:
    """Return the function that makes a trace out of cross-attention weights."""
    return trace_of


@pytest.fixture(scope="session")
def another_tiny_whisper() -> Callable[..., Path]:
    """Return the function that writes a tiny Whisper: write(folder, seed)."""
    return write_tiny_whisper


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the function that calls the command line: run(arguments...)."""
    return runner(monkeypatch, capsys)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return the function that installs a plugin: install(distribution, module, points, code)."""
    yield from installer(tmp_path, monkeypatch)
