"""Write the model card of xbench-tiny from what was measured."""

from __future__ import annotations

from collections.abc import Iterable

TASKS = {"transcribe": "ASR", "translate": "ST"}

HEAD = """\
---
language: [en, it, de, fr]
license: cc0-1.0
pipeline_tag: automatic-speech-recognition
---

# xbench-tiny

A Whisper-architecture model that transcribes English, Italian, German and French and translates
the last three into English, within a closed vocabulary of synthetic speech. It exists so that
xbench has a model that has really learned both tasks and travels inside the package. It is of no
use for real speech.

Weights, tokenizer and audio: CC0-1.0. All sentences come from a grammar written for this project;
the speech was synthesised with espeak-ng {version}.

## Use

It loads with `WhisperForConditionalGeneration.from_pretrained` and `AutoProcessor.from_pretrained`
(transformers 5). The weights are stored in half precision: ask for float32. The language is the
one *spoken* (without one it is detected from the audio); `task="translate"` writes English, and
the default is to transcribe. The window is 6 s (300 encoder positions). Texts are lower case
without punctuation and start with a space. There are no timestamp tokens, so it must not be asked
for timestamps.

## Model

{parameters:,} parameters: {encoder_layers} encoder and {decoder_layers} decoder layers,
width {d_model}, {heads} heads, 80 mel bands, {vocabulary} tokens (byte-level BPE trained on the
training texts, then Whisper's special tokens without timestamps).

## Training data

`scripts/make_demo_data.py corpus` ({train_clips:,} clips, {train_hours:.1f} h, seeded).
A sentence is a meaning drawn from a grammar and said in one of the languages. Different words:
{vocabulary_sizes}.
Word orders differ: Italian and most French adjectives follow the noun, clitic pronouns precede
the verb, German puts the verb second in main clauses and last in subordinate clauses, with
participles and infinitives at the end, and any language may open with the time or the place,
while the English translation always has the order subject, verb, object, place, time.
Silence of random length opens and closes most clips and separates about every third pair of
phrases; each stretch has its own speed. About two clips in three carry white or pink noise.

- Voices of the training and test clips ({n_test_voices} clusters): {test_voices}.
- Voices of the dev clips ({n_dev_voices} clusters, never in training): {dev_voices}.
- A hash of the meaning decides whether a sentence belongs to train, dev or test, in every
  language and order, so neither a test sentence nor its translation was in training. The test
  *voices* were.
- Word times are espeak-ng's word events. Where the library joins short words ("in the") into one
  event, the span is shared out by number of letters. A word lasts until the next one begins.

## Training

Cross entropy on text and language tokens, plus a CTC loss of spelling the transcript from the
encoder ({ctc_weight} of its weight, dropped after training). No attention supervision. AdamW,
peak rate {learning_rate}, batches of {batch_size} clips, {epochs} epochs, bfloat16 autocast,
seed {seed}. Wall time {minutes:.0f} min on two CPU cores that other work also used. Nothing
pins the bits of a second training: it is meant to reach the same quality.
"""

COMMANDS = """\
## Made by

    python scripts/make_demo_data.py package               # seconds
    python scripts/make_demo_data.py corpus --out CACHE    # 2 to 4 minutes, 1.2 GB
    python scripts/train_tiny.py --corpus CACHE            # time above, then 5 min to measure
"""

QUALITY = """\
## Quality

Free decoding with language and task given. Held-out: voices of the test clips, sentences of the
test side. Packaged test: the clips of the demo suite. Unseen voices: dev voices, sentences of the
dev side. Silence and another clip: held-out references, but the model hears nothing, or the next
clip of the same language.

"""

LIMITS = """\
## Limits

Closed vocabulary, one synthesiser, one grammar: any other speech gives confident nonsense. The
test voices are known from training; the row "unseen voices" above shows other ones. German,
Italian and French words that sound alike (masculine and feminine French adjectives, participles
and infinitives) are told apart by context only.
"""


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; floats get two digits."""
    lines = [list(header), *rows]
    text = [
        "| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in row) + " |"
        for row in lines
    ]
    return "\n".join([text[0], "|" + " --- |" * len(lines[0]), *text[1:]]) + "\n"


def curve_section(curve: list[dict]) -> str:
    """Show the training curve."""
    rows = [
        [p["epoch"], f"{p['minutes']:.1f}", p["text_loss"], p["ctc_loss"], p["wer"], p["chrf"]]
        for p in curve
    ]
    header = ("epoch", "minutes", "text loss", "CTC loss", "held-out WER %", "held-out chrF")
    return (
        "## Training curve\n\nWER and chrF: greedy free decoding of 120 held-out clips, averaged "
        "over languages.\n\n" + table(header, rows)
    )


def quality_section(quality: list[dict]) -> str:
    """Show WER and chrF of every set and the controls."""
    languages = {"wer": ("en", "it", "de", "fr"), "chrf": ("it", "de", "fr")}
    header = ["clips", "decoding"]
    header += [f"WER % {n}" for n in languages["wer"]] + [f"chrF {n}-en" for n in languages["chrf"]]
    rows = [
        [entry["set"], entry["decoding"]]
        + [float(entry["quality"][m][n]) for m, names in languages.items() for n in names]
        for entry in quality
    ]
    return QUALITY + table(header, rows)


def attention_section(attention: dict) -> str:
    """Show how far the mean of all heads lies above the diagonal."""
    rows = []
    for side, tasks in attention["comparison"].items():
        for task, result in tasks.items():
            for measure in ("mass", "correlation"):
                ours, ramp = result[f"{measure} mean-heads"], result[f"{measure} diagonal"]
                uniform = result.get(f"{measure} uniform", "-")
                won = f"{100 * result[f'{measure} won']:.0f} %"
                row = [side, TASKS[task], result["clips"], measure, uniform, ramp, ours]
                rows.append([*row, ours - ramp, won])
    header = ["clips", "task", "n", "measure", "uniform", "diagonal", "mean-heads"]
    header += ["above diagonal", "clips won"]
    widths = ", ".join(
        f"{TASKS[task]} {measure} {width}"
        for task, best in attention["widths"].items()
        for measure, width in best.items()
    )
    heads = "\n".join(
        f"- {TASKS[task]}, decoder layer {layer}: " + ", ".join(f"{mass:.2f}" for mass in masses)
        for task, layers in attention["head_mass"].items()
        for layer, masses in enumerate(layers)
    )
    return f"""## Attention against the diagonal

Cross-attention of the hypothesis, row i predicting token i, special tokens dropped, cropped to
valid frames and normalised again; `mean-heads` is the plain mean over layers and heads. The truth
is the window of the spoken word (ASR) or of the spoken words that the grammar aligns with the
English word (ST). "Mass" is the share of a token's weight inside its window, "correlation" is
Pearson's over the whole map. The diagonal is a Gaussian that moves evenly from start to end, each
time at its best width on held-out sentences of the dev voices (share of the clip:
{widths}).

{table(header, rows)}
Mass inside the true window per head (dev voices):

{heads}

`alignment_heads` in the generation config, {attention["alignment_heads"]}, are the heads with at
least 80 % of the best head's mass, ASR and ST added, chosen on those dev sentences only.
"""


def card(facts: dict, curve: list[dict], quality: list[dict], attention: dict) -> str:
    """Return the whole card."""
    sections = [
        HEAD.format(**facts, minutes=curve[-1]["minutes"]),
        curve_section(curve),
        quality_section(quality),
        attention_section(attention),
        LIMITS,
        COMMANDS,
    ]
    return "\n".join(sections)
