"""Train the decoder-only sibling of xbench-tiny: audio as a prefix of a small language model, on the same speech.

python scripts/make_demo_data.py corpus --out CACHE
python scripts/train_tiny_lm.py --corpus CACHE --out FOLDER [--only-report]

It has the architecture of Qwen2-Audio, much smaller, so xbench loads it as `qwen2_audio:FOLDER`. Its audio encoder is
that of xbench-tiny and stays as it is, as speech LLMs begin with a trained encoder: so both models hear the same, and
differ in how text reads it. Each request ("Transcribe the English speech ...") is one token of its tokenizer.

Training is seeded and goes on where it stopped: after every so many steps everything is saved in OUT/training.pt, which
a finished training removes. Then the model is measured, and its card written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

import tiny_lm_report
from demo_grammar import LANGUAGES
from make_demo_data import DEMO
from tiny_corpus import Corpus
from train_tiny import IGNORED, batches, learning_rate
from xbench.models.families import qwen2_audio
from xbench.models.family import Loaded

ORDINARY_TOKENS = 640
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
SLOT = ("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")
TEMPLATE = (
    "<s>{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
WIDTH, HEADS, FEED_FORWARD = 128, 4, 512
ENCODER_LAYERS, DECODER_LAYERS = 3, 3
CURVE, STATE = "curve.json", "training.pt"


@dataclass(frozen=True)
class Settings:
    """What a training depends on besides the corpus and the audio encoder."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def requests() -> dict[tuple[str, str | None], str]:
    """Return all requests: each language transcribed, each but English translated into English."""
    tasks = [(language, None) for language in LANGUAGES]
    tasks += [(language, "en") for language in LANGUAGES if language != "en"]
    return {task: qwen2_audio.request(*task) for task in tasks}


def write_processor(texts: list[str], folder: Path) -> Any:
    """Train a byte-level BPE on texts and save it with the special tokens, template and feature extractor."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator(
        (" " + text for text in texts),
        trainers.BpeTrainer(
            vocab_size=ORDINARY_TOKENS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        extra_special_tokens=[*SLOT, *requests().values()],
        **NAMED,
    )
    processor = Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=80), tokenizer, chat_template=TEMPLATE
    )
    processor.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def make_model(tokenizer: Any) -> Qwen2AudioForConditionalGeneration:
    """Build the untrained model with its generation settings."""
    bos, eos, pad, audio = tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<pad>", "<|AUDIO|>"])
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(
            audio_config={
                "num_mel_bins": 80,
                "d_model": WIDTH,
                "encoder_layers": ENCODER_LAYERS,
                "encoder_attention_heads": HEADS,
                "encoder_ffn_dim": FEED_FORWARD,
            },
            text_config={
                "model_type": "qwen2",
                "vocab_size": len(tokenizer),
                "hidden_size": WIDTH,
                "intermediate_size": FEED_FORWARD,
                "num_hidden_layers": DECODER_LAYERS,
                "num_attention_heads": HEADS,
                "num_key_value_heads": HEADS,
                "max_position_embeddings": 1024,
                "bos_token_id": bos,
                "eos_token_id": eos,
                "pad_token_id": pad,
            },
            audio_token_index=audio,
        )
    )
    model.generation_config = GenerationConfig(
        bos_token_id=bos, eos_token_id=eos, pad_token_id=pad, do_sample=False
    )
    return model


def hear_as_xbench_tiny(model: Qwen2AudioForConditionalGeneration, folder: Path) -> None:
    """Give a model the audio encoder of xbench-tiny, which is not trained further; its sinusoids go on to 30 s."""
    tiny = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    weights = tiny.model.encoder.state_dict()
    tower = model.model.audio_tower
    weights["embed_positions.weight"] = sinusoids(*tower.embed_positions.weight.shape)
    tower.load_state_dict(weights)
    tower.requires_grad_(False)


def sinusoids(positions: int, width: int) -> Tensor:
    """Return Whisper's fixed positions [position, width]: sines, then cosines, of wave lengths up to 10,000 turns."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2 - 1))
    angles = torch.arange(positions)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def rows_of(corpus: Corpus, tokenizer: Any) -> list[list[tuple[int, list[int]]]]:
    """Return, for every clip, the request and the text with end-of-text of each of its tasks, as tokens."""
    known = {task: tokenizer.convert_tokens_to_ids(text) for task, text in requests().items()}
    rows = []
    for fact in corpus.facts:
        texts = {(fact["language"], None): fact["transcript"]}
        if fact["language"] != "en":
            texts[(fact["language"], "en")] = fact["translation_en"]
        rows.append(
            [
                (
                    known[task],
                    [
                        *tokenizer.encode(" " + text, add_special_tokens=False),
                        tokenizer.eos_token_id,
                    ],
                )
                for task, text in texts.items()
            ]
        )
    return rows


@dataclass(frozen=True)
class Learner:
    """A model in training, and what it is trained on."""

    model: Qwen2AudioForConditionalGeneration
    tokenizer: Any
    corpus: Corpus
    rows: list[list[tuple[int, list[int]]]]

    @cached_property
    def loaded(self) -> Loaded:
        """The model as the family of xbench sees it."""
        return Loaded(self.model, WhisperFeatureExtractor(feature_size=80), self.tokenizer)

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def loss(self, group: np.ndarray) -> Tensor:
        """Return the cross entropy of the text of a batch, each clip as long as itself."""
        read = [self._sequence(self._heard(int(index)), self.rows[index]) for index in group]
        inputs, labels, positions, tasks = (
            nn.utils.rnn.pad_sequence(list(part), batch_first=True, padding_value=IGNORED)
            for part in zip(*read, strict=True)
        )
        states = self.model.model.language_model(
            inputs_embeds=inputs,
            attention_mask=visible(tasks),
            position_ids=positions.clamp_min(0),
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(states[labels != IGNORED])
        return functional.cross_entropy(logits, labels[labels != IGNORED])

    def _heard(self, index: int) -> Tensor:
        """Return what stands at the audio positions of a clip."""
        first, last = self.corpus.offsets[index], self.corpus.offsets[index + 1]
        mel = torch.from_numpy(self.corpus.mel[first:last].astype(np.float32))
        with torch.no_grad():
            frames = qwen2_audio.encoder_frames(self.loaded, mel[None])
        return qwen2_audio.joined(self.loaded, frames)[0]

    def _sequence(
        self, heard: Tensor, tasks: list[tuple[int, list[int]]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return embeddings, labels, positions and tasks of a clip: its audio once, then request and text of each task.

        Every task goes on where the audio ends; 0 is the task of what all of them see.
        """
        embed = self.model.get_input_embeddings()
        begin, _, end = self.tokenizer.convert_tokens_to_ids(list(SLOT))
        opening = embed(torch.tensor([self.tokenizer.bos_token_id, begin]))
        inputs = [opening, heard, embed(torch.tensor([end]))]
        shared = len(opening) + len(heard) + 1
        labels, owners = [torch.full((shared,), IGNORED)], [torch.zeros(shared, dtype=torch.long)]
        positions = [torch.arange(shared)]
        for number, (asked, text) in enumerate(tasks, 1):
            inputs.append(embed(torch.tensor([asked, *text[:-1]])))
            labels.append(torch.tensor(text))
            owners.append(torch.full((len(text),), number))
            positions.append(torch.arange(shared, shared + len(text)))
        return torch.cat(inputs), torch.cat(labels), torch.cat(positions), torch.cat(owners)


def visible(tasks: Tensor) -> Tensor:
    """Return which position sees which [clip, 1, position, position]: what lies before it, of all tasks or its own."""
    shared, same = tasks[:, None, :] == 0, tasks[:, :, None] == tasks[:, None, :]
    return ((shared | same).tril())[:, None]


@dataclass
class Progress:
    """How far a training is: steps made, and the losses so far."""

    step: int
    curve: list[dict[str, float]]


def train(learner: Learner, settings: Settings, out: Path, every: int) -> None:
    """Train from where a saved state stands, or from the beginning."""
    optimiser = torch.optim.AdamW(learner.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    progress = resumed(learner, optimiser, settings, out)
    per_epoch = math.ceil(len(learner.corpus) / settings.batch_size)
    steps, recent, started = settings.epochs * per_epoch, [], time.monotonic()
    learner.model.train()
    while progress.step < steps:
        epoch, index = divmod(progress.step, per_epoch)
        rng = np.random.default_rng([settings.seed, epoch])
        groups = batches(learner.corpus.frames, settings.batch_size, rng)[index:]
        for group in groups:
            for options in optimiser.param_groups:
                options["lr"] = learning_rate(progress.step, steps, settings.learning_rate)
            loss = learner.loss(group)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimiser.step()
            progress.step += 1
            recent.append(loss.item())
            if progress.step % every == 0 or progress.step == steps:
                point = {"step": progress.step, "text_loss": float(np.mean(recent))}
                progress.curve.append(point)
                recent = []
                keep(learner, optimiser, settings, progress, out)
                print(
                    json.dumps({**point, "of": steps, "s": time.monotonic() - started}), flush=True
                )
    save(learner.model, out)
    (out / CURVE).write_text(json.dumps(progress.curve, indent=1))
    (out / STATE).unlink()


def keep(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    settings: Settings,
    progress: Progress,
    out: Path,
) -> None:
    """Save all that going on needs; the file is whole or the one before it."""
    state = {
        "model": learner.model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "settings": asdict(settings),
        "progress": asdict(progress),
    }
    torch.save(state, out / f"{STATE}.part")
    (out / f"{STATE}.part").replace(out / STATE)


def resumed(
    learner: Learner, optimiser: torch.optim.Optimizer, settings: Settings, out: Path
) -> Progress:
    """Load a saved state; exit where it is of other settings."""
    if not (out / STATE).is_file():
        return Progress(0, [])
    state = torch.load(out / STATE, weights_only=True)
    if state["settings"] != asdict(settings):
        sys.exit(
            f"train_tiny_lm: {out / STATE} was saved with {state['settings']}, not with {asdict(settings)}: give "
            "those, or another --out"
        )
    learner.model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return Progress(**state["progress"])


def save(model: Qwen2AudioForConditionalGeneration, folder: Path) -> None:
    """Write weights in half precision and configurations."""
    deepcopy(model).half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo", type=Path, default=DEMO, help="folder with the packaged clips")
    parser.add_argument("--only-report", action="store_true", help="measure the model in --out")
    parser.add_argument("--report-clips", type=int, default=200, help="most clips of a set")
    parser.add_argument("--save-every", type=int, default=50, help="steps between two saved states")
    options = parser.parse_args()
    if not (options.corpus / "train.npz").is_file():
        sys.exit(
            f"train_tiny_lm: {options.corpus}/train.npz is missing: run make_demo_data.py first"
        )
    settings = Settings(options.epochs, options.batch_size, options.learning_rate, options.seed)
    if not options.only_report:
        train_anew(options, settings)
    card = tiny_lm_report.report(
        options.out, options.corpus, options.demo, asdict(settings), options.report_clips
    )
    (options.out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


def train_anew(options: argparse.Namespace, settings: Settings) -> None:
    """Make tokenizer and model of the corpus, and train, going on where a training of these settings stopped."""
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(options.corpus, "train")
    texts = [fact[kind] for fact in corpus.facts for kind in ("transcript", "translation_en")]
    tokenizer = write_processor(texts, options.out)
    torch.manual_seed(settings.seed)
    model = make_model(tokenizer)
    hear_as_xbench_tiny(model, options.demo / "model")
    learner = Learner(model, tokenizer, corpus, rows_of(corpus, tokenizer))
    train(learner, settings, options.out, options.save_every)


if __name__ == "__main__":
    main()
