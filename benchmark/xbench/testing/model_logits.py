"""The checks of a model's logits: teacher forcing, rows, batches, masking, gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from xbench.models.capture import captured_blocks
from xbench.models.optional import Inspectable, ReadsPrefix, offers
from xbench.models.protocol import Features
from xbench.testing.battery import Broken, NotApplicable
from xbench.testing.model_subject import OTHER, SAME, Subject, divergence, expect_same


def _inspectable(subject: Subject) -> Inspectable:
    if not offers(subject.model, Inspectable):
        raise NotApplicable("the model does not show its own forward pass")
    return subject.model


@torch.no_grad()
def _own_logits(subject: Subject, *others: Features) -> Float[Tensor, "token vocab"]:
    hypothesis = subject.hypothesis
    # A fixed window is input as a whole; all else is as long as its audio.
    inputs = [f.values for f in (subject.features[0], *others)]
    ids = torch.tensor([hypothesis.prompt + hypothesis.tokens[:-1]]).expand(len(inputs), -1)
    own = _inspectable(subject).own_forward(inputs, ids.to(inputs[0].device))
    return own[0, len(hypothesis.prompt) - 1 :]


def check_own_forward(subject: Subject) -> None:
    """Refuse teacher-forced logits that are not those of the network's own forward pass."""
    expect_same(_own_logits(subject), subject.logits, "against the network's own forward pass")


@torch.no_grad()
def check_rows(subject: Subject) -> None:
    """Refuse rows that predict another token than their own, or depend on tokens that come later."""
    hypothesis, tokens = subject.hypothesis, subject.hypothesis.tokens
    chosen = subject.logits.argmax(-1).tolist()
    for row, (found, token) in enumerate(zip(chosen, tokens, strict=True)):
        if found != token:
            raise Broken(f"row {row} predicts token {found}, but {token} was generated")
    if len(tokens) < 3:
        raise NotApplicable("the hypothesis is too short to tell its rows apart")
    for row in range(len(tokens) - 1):
        other = list(tokens)
        other[row] = next(t for t in (*hypothesis.prompt, *tokens) if t != tokens[row])
        changed = replace(hypothesis, tokens=tuple(other))
        logits = subject.model.logits(subject.encoded, changed)[0]
        if divergence(subject.logits[: row + 1], logits[: row + 1]) > SAME:
            raise Broken(f"token {row} changes a row up to {row}, which predicts it")
        following = slice(row + 1, row + 2)
        if divergence(subject.logits[following], logits[following]) < OTHER:
            raise Broken(f"row {row + 1} does not depend on token {row} before it")


@torch.no_grad()
def check_batch(subject: Subject) -> None:
    """Refuse a clean copy whose logits change beside perturbed copies, and a model that hears no change."""
    values = subject.features[0].values
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(3, len(values), 1, generator=generator).to(values.device) > 0.5
    batch = torch.cat([values[None], torch.where(keep, values, values.mean(0))])
    together = subject.model.logits(subject.model.encode(batch), subject.hypothesis)
    expect_same(subject.logits, together[0], "beside perturbed copies")
    if divergence(subject.logits, together[1]) < OTHER:
        raise Broken("a perturbed copy gives the clean output: the model does not hear its input")


def check_padding(subject: Subject) -> None:
    """Refuse an utterance whose logits change in the network's own padded batch."""
    expect_same(
        subject.logits,
        _own_logits(subject, subject.features[1]),
        "padded beside a longer utterance",
    )


@torch.no_grad()
def check_masking(subject: Subject) -> None:
    """Refuse `frame_masking` that differs from zeroing the encoder output."""
    encoded = subject.encoded
    before = encoded.clone()
    masked = subject.model.frame_masking(encoded, subject.hypothesis)
    generator = torch.Generator().manual_seed(0)
    keep = (torch.rand(3, encoded.shape[1], generator=generator) > 0.5).to(encoded)
    keep[0] = 1
    found = masked(keep)
    if not torch.equal(encoded, before):
        raise Broken("it changes the encoder output that it is given")
    expect_same(subject.logits, found[0], "with every frame kept")
    for row in (1, 2):
        plain = subject.model.logits(encoded * keep[row][None, :, None], subject.hypothesis)[0]
        expect_same(plain, found[row], "with frames zeroed")
    if divergence(subject.logits, found[1]) < OTHER:
        raise Broken("zeroing half of the encoder output changes nothing")


@torch.no_grad()
def check_causal(subject: Subject) -> None:
    """Refuse a decoder-only model in which audio changes what stands before it, or nothing behind it."""
    model, hypothesis = subject.model, subject.hypothesis
    if not offers(model, ReadsPrefix):
        raise NotApplicable("its audio does not stand among text")
    audio = model.audio_positions(hypothesis)
    half = (audio.stop - audio.start) // 2
    changed = subject.encoded.clone()
    changed[:, half:] = 0
    first = audio.start + half
    stacks = {"self": model.attention_stacks()["self"]}

    def outputs(encoded: Float[Tensor, "1 frame dim"]) -> list[Tensor]:
        with captured_blocks(stacks) as readers:
            model.logits(encoded, hypothesis)
            return [read().output for read in readers["self"]]

    behind = 0.0
    for layer, (clean, found) in enumerate(
        zip(outputs(subject.encoded), outputs(changed), strict=True)
    ):
        before = float((clean[:first] - found[:first]).abs().max())
        if before > SAME * float(clean.abs().max()):
            raise Broken(
                f"zeroing audio from position {first} on changes layer {layer} before it by {before:.3g}"
            )
        behind = max(behind, float((clean[audio.stop :] - found[audio.stop :]).abs().max()))
    if behind == 0:
        raise Broken(
            "zeroing half of the audio changes nothing behind it: text does not attend to it"
        )


def check_gradients(subject: Subject) -> None:
    """Refuse a model whose input or encoder output gets no gradient."""
    values = subject.features[0].values[None].clone().requires_grad_()
    with torch.enable_grad():
        encoded = subject.model.encode(values)
        logits = subject.model.logits(encoded, subject.hypothesis)
        scores = logits.float().log_softmax(-1)[0].max(-1).values.sum()
        gradients = torch.autograd.grad(scores, [values, encoded])
    for name, gradient in zip(("input", "encoder output"), gradients, strict=True):
        if not torch.isfinite(gradient).all() or not gradient.abs().sum() > 0:
            raise Broken(f"the gradient by the {name} is zero or not finite")
