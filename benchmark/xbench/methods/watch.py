"""Looks after a run in which plugins take part: what one changes during its call, or later, spoils nobody's results.

A plugin may change something after its call: from a thread that waited, when Python collects garbage, in a callback.
That is found at the next look. So whoever computes for a run stores nothing before a look (`Bench.put` makes one), and
does all of its work again where that finds a change (`again_if_disturbed`).
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

import torch

from xbench.errors import Disturbed, EnvironmentProblem, Unsupported
from xbench.methods.isolation import Standing, not_left, unchanged
from xbench.models.kept_state import Keeper
from xbench.models.metered import MeteredModel, model_classes
from xbench.models.protocol import SpeechModel
from xbench.surroundings import Process, end_left, undisturbed

_AT_MOST = 5  # looks in a row that find changes though nobody is left to bar

P = ParamSpec("P")
T = TypeVar("T")


class Watch:
    """Keeps a model and the process as they are while plugins run, and knows who must not run any more.

    keeper: puts back what plugins change of networks. barred: plugins that changed something, such as "method 'x'",
    with the reason. A look costs nothing before the first plugin has run, and none when nothing was computed since the
    last one.
    """

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.barred: dict[str, str] = {}
        self._ran: dict[str, None] = {}
        self._notes: tuple[Standing, Process] | None = None
        self._left: list[threading.Thread] = []
        self._seen = True  # nobody has computed anything since the last look
        self._times = 0

    def begin(self) -> None:
        """Tell that something is computed now, which the next look is to hold good."""
        self._seen = False

    def may_run(self, who: str) -> None:
        """Raise Unsupported where a plugin has changed something before."""
        if who in self.barred:
            raise Unsupported(self.barred[who])

    @contextmanager
    def over(
        self, who: str, model: SpeechModel, limit: AbstractContextManager[None]
    ) -> Iterator[None]:
        """Put back what a plugin changes within the context.

        limit: of the time that it may take; it must not interrupt the putting back.

        Raises:
            Unsupported: it changed something, now or before.
            Disturbed: so did it or another plugin after an earlier call; what was computed since the last look is void.
        """
        self.may_run(who)
        before = self._ran.keys() - self.barred.keys()
        if before - {who}:
            self.look()
        # What only this plugin can have done is found after its call.
        earlier = who in before and not self._seen
        standing, process = self._notes_of(model)
        self._ran[who] = None
        threads = threading.enumerate()
        of_process, of_model = list[str](), list[str]()
        try:
            with ExitStack() as around:
                of_model = around.enter_context(unchanged(model, self.keeper, standing))
                of_process = around.enter_context(
                    undisturbed(*model_classes(model), process=process)
                )
                around.enter_context(limit)
                yield
        finally:
            self._left += [each for each in threading.enumerate() if each not in threads]
            self._left = [each for each in self._left if each.is_alive()]
            if changed := [*of_process, *of_model]:
                self.barred[who] = not_left(changed[0])
                self._renew()
                if earlier and not isinstance(sys.exception(), KeyboardInterrupt):
                    raise Disturbed(f"{who}: {self.barred[who]}")
            elif self._is_own(model):
                self._seen = True
        if changed:
            raise Unsupported(self.barred[who])

    def look(self) -> None:
        """Raise Disturbed where anything was changed since the last look; it is put back, and its threads are ended."""
        if self._seen or self._notes is None:
            return
        standing, process = self._notes
        # Blocks of references are stored in the middle of a computation, which needs no gradients.
        inference = torch.is_inference_mode_enabled()
        with torch.inference_mode(False) if inference else nullcontext():
            changed = _put_back(standing, process)
            if changed:
                # They may change more until they have ended.
                standing, process = self._renew()
                end_left(self._left)
                if _put_back(standing, process):
                    self._renew()
        if changed:
            raise Disturbed(self._blame(changed[0]))
        self._notes = (standing, process.grown())
        self._seen, self._times = True, 0

    def settle(self) -> None:
        """Put back what was changed since the last look, where nothing was computed that it could spoil."""
        self.begin()
        with suppress(Disturbed):
            self.look()

    def _notes_of(self, model: SpeechModel) -> tuple[Standing, Process]:
        """Return notes of a model and the process; those of the model of the run hold until something is changed."""
        if self._notes is None:
            self._notes = Standing.of(model, self.keeper), Process.of(*model_classes(model))
        standing, process = self._notes
        if not self._is_own(model):  # one that a gate has made of it
            return Standing.of(model, self.keeper), process
        return standing, process

    def _is_own(self, model: SpeechModel) -> bool:
        measured = model.measured if isinstance(model, MeteredModel) else model
        return self._notes is not None and self._notes[0].model is measured

    def _renew(self) -> tuple[Standing, Process]:
        """Take notes again, of what was put back."""
        assert self._notes is not None
        model = self._notes[0].model
        self._notes = Standing.of(model, self.keeper), Process.of(*model_classes(model))
        return self._notes

    def _blame(self, what: str) -> str:
        """Bar every plugin that may have changed something after its call; return what is told of it."""
        suspects = [who for who in self._ran if who not in self.barred]
        self._times += not suspects
        names = ", ".join(suspects or self._ran)
        if self._times > _AT_MOST:
            raise EnvironmentProblem(
                f"{what} is changed again and again by what one of these left at work: {names}; leave it out"
            )
        sentence = f"it changed {what} after its call, which all methods share; a method must leave it as it was"
        if len(suspects) > 1:
            sentence = f"it or another one changed {what} after its call ({names}); run each alone to see which"
        self.barred |= dict.fromkeys(suspects, sentence)
        return f"{names}: {sentence}"


def _put_back(standing: Standing, process: Process) -> list[str]:
    changed = [*process.settings_put_back(), *process.functions_put_back()]
    return changed + [each for each in [standing.put_back()] if each]


@runtime_checkable
class Watched(Protocol):
    """Something that is watched, such as a bench."""

    @property
    def watch(self) -> Watch:
        """Its watch."""


W = TypeVar("W", bound=Watched)


def again_if_disturbed(
    work: Callable[Concatenate[W, P], T],
) -> Callable[Concatenate[W, P], T]:
    """Decorate work on a bench: it is done again where a plugin changed something while it was done."""

    @functools.wraps(work)
    def done(bench: W, *args: P.args, **named: P.kwargs) -> T:
        while True:
            bench.watch.begin()
            try:
                return work(bench, *args, **named)
            except Disturbed:  # whoever did it is barred now, so this ends
                continue

    return cast(Callable[Concatenate[W, P], T], done)
