"""Train xbench-tiny, a small Whisper-architecture model, and write its folder with its card.

python scripts/make_demo_data.py corpus --out CACHE
python scripts/train_tiny.py --corpus CACHE
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

import tiny_card
import tiny_report
from demo_grammar import LANGUAGES
from make_demo_data import DEMO, DEV_VOICES, TEST_VOICES, WINDOW_S
from tiny_corpus import WINDOW_FRAMES, Clips, Corpus, packaged_clips

ORDINARY_TOKENS = 640
POSITIONS = WINDOW_FRAMES // 2
LONGEST_TEXT = 64
SPECIAL_TOKENS = (
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
FULL_FROM = 0.65
MOST_PARAMETERS = 2_000_000
QUICK_CLIPS = 120
CONTROL_CLIPS = 200
CURVE = "curve.json"
SPLITS = ("train", "heldout", "unseen")
SPELLED = " abcdefghijklmnopqrstuvwxyzàâäçèéêëîïôöùûüßìò"
LETTERS = {letter: number for number, letter in enumerate(SPELLED, 1)}
IGNORED = -100


@dataclass(frozen=True)
class Settings:
    """What a training depends on besides the corpus."""

    epochs: int
    batch_size: int
    learning_rate: float
    ctc_weight: float
    seed: int


def make_tokenizer(texts: list[str]) -> WhisperTokenizer:
    """Train a byte-level BPE on texts and give it Whisper's special tokens, placed last."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=ORDINARY_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator((" " + text for text in texts), trainer)
    model = json.loads(raw.to_str())["model"]
    return WhisperTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        extra_special_tokens=list(SPECIAL_TOKENS),
    )


def make_model(tokenizer: WhisperTokenizer) -> WhisperForConditionalGeneration:
    """Build the untrained model with its generation settings."""
    start, *_ = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>"])
    end = tokenizer.eos_token_id
    shape = {"encoder_layers": 3, "decoder_layers": 2}
    shape |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=128,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        num_mel_bins=80,
        max_source_positions=POSITIONS,
        max_target_positions=LONGEST_TEXT,
        dropout=0.0,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        begin_suppress_tokens=None,
        tie_word_embeddings=True,
        **shape,
    )
    model = WhisperForConditionalGeneration(config)
    model.set_attn_implementation("eager")
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=LONGEST_TEXT,
        is_multilingual=True,
        task="transcribe",
        lang_to_id={f"<|{n}|>": tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in LANGUAGES},
        task_to_id={
            task: tokenizer.convert_tokens_to_ids(f"<|{task}|>")
            for task in ("transcribe", "translate")
        },
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        return_timestamps=False,
        suppress_tokens=[],
        begin_suppress_tokens=[end],
    )
    return model


def encode(model: WhisperForConditionalGeneration, features: Tensor) -> Tensor:
    """Run the encoder on a window of any length, so that short batches cost less."""
    encoder = model.model.encoder
    hidden = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(features))))
    hidden = hidden.transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    return encoder.layer_norm(hidden)


def token_rows(corpus: Corpus, tokenizer: WhisperTokenizer) -> list[list[list[int]]]:
    """Return, for every clip, its transcript and (unless English) its translation as tokens."""
    rows = []
    for fact in corpus.facts:
        texts = {"transcribe": fact["transcript"]}
        if fact["language"] != "en":
            texts["translate"] = fact["translation_en"]
        names = ("<|startoftranscript|>", f"<|{fact['language']}|>")
        rows.append(
            [
                tokenizer.convert_tokens_to_ids([*names, f"<|{task}|>", "<|notimestamps|>"])
                + tokenizer.encode(" " + text, add_special_tokens=False)
                + [tokenizer.eos_token_id]
                for task, text in texts.items()
            ]
        )
    return rows


def target_batch(rows: list[list[list[int]]], padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the clip of every target row, the rows, and labels for language and text."""
    owners = [owner for owner, texts in enumerate(rows) for _ in texts]
    flat = [text for texts in rows for text in texts]
    longest = max(map(len, flat))
    tokens = torch.full((len(flat), longest), padding)
    labels = torch.full((len(flat), longest), IGNORED)
    for row, text in enumerate(flat):
        tokens[row, : len(text)] = torch.tensor(text)
        labels[row, : len(text)] = tokens[row, : len(text)]
    labels[:, 2:4] = IGNORED
    return torch.tensor(owners), tokens[:, :-1], labels[:, 1:]


def batches(frames: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle clips into batches of similar length."""
    order = rng.permutation(len(frames))
    groups = []
    for start in range(0, len(order), 32 * size):
        pool = order[start : start + 32 * size]
        pool = pool[np.argsort(frames[pool], kind="stable")]
        groups += [pool[first : first + size] for first in range(0, len(pool), size)]
    return [groups[index] for index in rng.permutation(len(groups))]


def window(longest: int, progress: float, rng: np.random.Generator) -> int:
    """Choose how many mel frames a batch sees: mostly cropped at first, mostly full at the end."""
    if rng.random() < (0.05 if progress < FULL_FROM else 0.5):
        return WINDOW_FRAMES
    return min(WINDOW_FRAMES, 2 * math.ceil((longest + rng.integers(0, 60)) / 2))


def letter_loss(head: nn.Linear, hidden: Tensor, frames: Tensor, texts: list[str]) -> Tensor:
    """Return the CTC loss of spelling the transcripts from the encoder's output."""
    scores = head(hidden).float().log_softmax(-1).transpose(0, 1)
    targets = torch.tensor([LETTERS[letter] for text in texts for letter in text])
    lengths = torch.tensor([len(text) for text in texts])
    return functional.ctc_loss(scores, targets, frames, lengths, zero_infinity=True)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm up over the first 4 %, then fall along a cosine to 1 % of the peak."""
    warm = max(1, steps // 25)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2)


@dataclass(frozen=True)
class Exchange:
    """Shared memory through which the workers average their gradients."""

    slots: Tensor
    barrier: Barrier

    def average(self, rank: int, parameters: list[nn.Parameter]) -> None:
        """Replace the gradients of this worker by the mean over all workers."""
        if len(self.slots) == 1:
            return
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        self.slots[rank, : len(flat)] = flat
        self.barrier.wait()
        mean = self.slots[:, : len(flat)].mean(0)
        self.barrier.wait()
        for parameter, part in zip(
            parameters, mean.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad.copy_(part.view_as(parameter))


@dataclass(frozen=True)
class Learner:
    """A model in training, with the spelling head that is dropped afterwards."""

    model: WhisperForConditionalGeneration
    head: nn.Linear
    corpus: Corpus
    rows: list[list[list[int]]]
    exchange: Exchange
    rank: int

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        every = [*self.model.parameters(), *self.head.parameters()]
        return [parameter for parameter in every if parameter.requires_grad]

    def losses(self, group: np.ndarray, frames: int) -> tuple[Tensor, Tensor]:
        """Return the text loss and the letter loss of a batch in a window of mel frames."""
        features = self.corpus.features(list(group), frames)
        padding = self.model.config.pad_token_id
        owners, tokens, labels = target_batch([self.rows[index] for index in group], padding)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = encode(self.model, features)
            decoded = self.model.model.decoder(
                input_ids=tokens, encoder_hidden_states=hidden[owners], use_cache=False
            ).last_hidden_state
            logits = self.model.proj_out(decoded[labels != IGNORED])
        text = functional.cross_entropy(logits.float(), labels[labels != IGNORED])
        lengths = torch.from_numpy((self.corpus.frames[group] + 1) // 2).clamp(max=hidden.shape[1])
        transcripts = [self.corpus.facts[index]["transcript"] for index in group]
        return text, letter_loss(self.head, hidden, lengths, transcripts)


def train_epoch(
    learner: Learner, optimiser: torch.optim.Optimizer, settings: Settings, number: int
) -> tuple[float, float]:
    """Train on every clip once and return the mean text loss and letter loss."""
    rng = np.random.default_rng([settings.seed, number])
    groups = batches(learner.corpus.frames, settings.batch_size, rng)
    steps, started, losses = settings.epochs * len(groups), time.monotonic(), []
    learner.model.train()
    for index, group in enumerate(groups):
        step = (number - 1) * len(groups) + index
        for options in optimiser.param_groups:
            options["lr"] = learning_rate(step, steps, settings.learning_rate)
        frames = window(int(learner.corpus.frames[group].max()), step / steps, rng)
        share = group[learner.rank :: len(learner.exchange.slots)]
        text, letters = learner.losses(share, frames)
        optimiser.zero_grad(set_to_none=True)
        (text + settings.ctc_weight * letters).backward()
        learner.exchange.average(learner.rank, learner.parameters())
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
        losses.append((text.item(), letters.item()))
        if index % 50 == 49 and learner.rank == 0:
            recent = np.mean(losses[-50:], axis=0).round(3).tolist()
            print(
                f"step {step + 1}/{steps} {time.monotonic() - started:.0f} s {recent}", flush=True
            )
    text_loss, ctc_loss = np.mean(losses, axis=0).tolist()
    return text_loss, ctc_loss


def train(rank: int, exchange: Exchange, folder: Path, out: Path, settings: Settings) -> None:
    """Train as one of several workers; the first one measures and saves after every epoch."""
    torch.set_num_threads(1 if len(exchange.slots) > 1 else torch.get_num_threads())
    torch.manual_seed(settings.seed)
    corpus = Corpus(folder, "train")
    tokenizer = make_tokenizer(
        [fact[kind] for fact in corpus.facts for kind in ("transcript", "translation_en")]
    )
    model = make_model(tokenizer)
    head = nn.Linear(model.config.d_model, len(LETTERS) + 1)
    learner = Learner(model, head, corpus, token_rows(corpus, tokenizer), exchange, rank)
    optimiser = torch.optim.AdamW(learner.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    heldout = Corpus(folder, "heldout").clips().first(QUICK_CLIPS)
    curve, started = [], time.monotonic()
    for number in range(1, settings.epochs + 1):
        text_loss, ctc_loss = train_epoch(learner, optimiser, settings, number)
        if rank > 0:
            continue
        point = {"epoch": number, "minutes": (time.monotonic() - started) / 60}
        point |= {"text_loss": text_loss, "ctc_loss": ctc_loss}
        point |= tiny_report.quick_quality(tiny_report.Tiny(model.eval(), tokenizer), heldout)
        curve.append(point)
        print(json.dumps(point), flush=True)
        (folder / CURVE).write_text(json.dumps(curve, indent=1))
        save(model, tokenizer, out)


def save(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer, folder: Path) -> None:
    """Write weights in half precision, configurations, tokenizer and feature extractor."""
    folder.mkdir(parents=True, exist_ok=True)
    deepcopy(model).half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(folder)


def load(folder: Path) -> tuple[tiny_report.Tiny, WhisperFeatureExtractor]:
    """Load a model folder in float32, with attention weights available."""
    model = WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    tiny = tiny_report.Tiny(model.eval(), WhisperTokenizer.from_pretrained(folder))
    return tiny, WhisperFeatureExtractor.from_pretrained(folder)


def measure_quality(tiny: tiny_report.Tiny, sets: dict[str, Clips]) -> list[dict]:
    """Return WER and chrF of all sets, greedy and with 5 beams, and of the controls."""
    rows = [
        {
            "set": f"{name} ({len(clips.facts)})",
            "decoding": "greedy" if beams == 1 else f"{beams} beams",
            "quality": tiny_report.free_decoding(tiny, clips, beams),
        }
        for name, clips in sets.items()
        for beams in (1, 5)
    ]
    first = next(iter(sets.values())).first(CONTROL_CLIPS)
    for control, quality in tiny_report.without_audio(tiny, first).items():
        rows.append(
            {"set": f"{control} ({CONTROL_CLIPS})", "decoding": "greedy", "quality": quality}
        )
    return rows


def model_facts(model: WhisperForConditionalGeneration, corpus: Corpus, settings: Settings) -> dict:
    """Return what the card says about the model and its training data."""
    words = {language: set() for language in LANGUAGES}
    for fact in corpus.facts:
        words[fact["language"]] |= set(fact["transcript"].split())
    return asdict(settings) | {
        "version": corpus.facts[0]["espeak"],
        "parameters": model.num_parameters(),
        "encoder_layers": model.config.encoder_layers,
        "decoder_layers": model.config.decoder_layers,
        "d_model": model.config.d_model,
        "heads": model.config.decoder_attention_heads,
        "vocabulary": model.config.vocab_size,
        "train_clips": len(corpus),
        "train_hours": int(corpus.offsets[-1]) / 360_000,
        "vocabulary_sizes": ", ".join(f"{name} {len(found)}" for name, found in words.items()),
        "n_test_voices": len(TEST_VOICES),
        "test_voices": ", ".join(TEST_VOICES),
        "n_dev_voices": len(DEV_VOICES),
        "dev_voices": ", ".join(DEV_VOICES),
    }


def report(options: argparse.Namespace, settings: Settings, corpus: Corpus) -> None:
    """Measure the model in its folder, choose alignment heads and write the card."""
    tiny, extractor = load(options.out)
    heldout, unseen = (Corpus(options.corpus, split).clips() for split in ("heldout", "unseen"))
    test = packaged_clips(options.demo / "test.jsonl", extractor)
    sets = {"held-out": heldout, "packaged test": test, "unseen voices": unseen}
    quality = measure_quality(tiny, sets)
    attention = tiny_report.attention_report(tiny, unseen, {"held-out": heldout, "test": test})
    tiny.model.generation_config.alignment_heads = attention["alignment_heads"]
    tiny.model.generation_config.save_pretrained(options.out)
    curve = json.loads((options.corpus / CURVE).read_text())
    facts = model_facts(tiny.model, corpus, settings)
    card = tiny_card.card(facts, curve, quality, attention)
    (options.out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(card)


def main() -> None:
    """Read the command line, train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--demo", type=Path, default=DEMO, help="folder with the packaged clips")
    parser.add_argument("--out", type=Path, default=DEMO / "model")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--ctc-weight", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--only-report", action="store_true", help="measure the model in --out")
    options = parser.parse_args()
    settings = Settings(
        options.epochs, options.batch_size, options.learning_rate, options.ctc_weight, options.seed
    )
    for needed in (
        *(options.corpus / f"{name}.npz" for name in SPLITS),
        options.demo / "test.jsonl",
    ):
        if not needed.is_file():
            sys.exit(f"train_tiny: {needed} is missing: run make_demo_data.py first")
    if not options.only_report:
        context = torch.multiprocessing.get_context("spawn")
        slots = torch.zeros(options.workers, MOST_PARAMETERS).share_memory_()
        exchange = Exchange(slots, context.Barrier(options.workers))
        torch.multiprocessing.spawn(
            train, (exchange, options.corpus, options.out, settings), options.workers
        )
    report(options, settings, Corpus(options.corpus, "train"))


if __name__ == "__main__":
    main()
