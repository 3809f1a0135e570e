"""Where a run computes: a loaded model, and the store that keeps what it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xbench.errors import UsageError, XbenchError
from xbench.methods.watch import Watch
from xbench.models.loading import Location, load_located, locate
from xbench.models.protocol import ModelInfo, SpeechModel
from xbench.runner.known_model import remember
from xbench.runner.own import check_model
from xbench.runner.plan import Method, Plan
from xbench.runner.time_limit import TimeLimit
from xbench.spec import Call, ExecutionOptions
from xbench.store import Artefact, Key, Store, default_folder


@dataclass(frozen=True)
class Shelf:
    """What is stored of one model: enough to score again without the model.

    info: the facts of the model, which are part of every key.
    """

    info: ModelInfo
    store: Store

    def artefact(self, key: Key) -> Artefact:
        """Return an artefact that an earlier stage has made; raises XbenchError when it is gone."""
        stored = self.store.get(key)
        if stored is None:
            raise XbenchError(
                f"the {key.kind} {key.digest[:12]} vanished from the cache during the run; "
                "run the same command again"
            )
        return stored


@dataclass(frozen=True)
class Bench:
    """A loaded model, the store that keeps what it makes, and how many masks a forward pass takes.

    batch_size: None finds one. watch: looks after what plugins change. limit: of the time that a method may take.
    fresh: maps, and what else methods make, are made again.
    """

    model: SpeechModel
    store: Store
    batch_size: int | None = None
    watch: Watch = field(default_factory=Watch)
    limit: TimeLimit = field(default_factory=TimeLimit)
    fresh: bool = False

    @property
    def info(self) -> ModelInfo:
        """The facts of the model."""
        return self.model.info

    def made(self, key: Key) -> Artefact | None:
        """Return what a method has made before, unless the run is to make it again."""
        return None if self.fresh else self.store.get(key)

    def put(self, key: Key, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Store what was made, unless a plugin changed something meanwhile: raises Disturbed."""
        self.watch.look()
        self.store.put(key, arrays, facts)

    def barred(self, methods: Iterable[Method]) -> dict[Call, str]:
        """Return the methods that changed something before, with the reason."""
        found = ((m.call, self.watch.barred.get(f"method '{m.call}'")) for m in methods)
        return {call: reason for call, reason in found if reason}

    @property
    def shelf(self) -> Shelf:
        """What is stored of the model."""
        return Shelf(self.model.info, self.store)


def bench_of(plan: Plan, options: ExecutionOptions) -> Bench:
    """Load the model of a run, where it is not loaded yet; raises UsageError or EnvironmentProblem."""
    spec, limit = plan.spec, TimeLimit(options.method_timeout)
    model = load_or_check(
        plan.model, options.device, spec.precision, trust_remote_code=spec.trust_remote_code
    )
    store = Store(Path(options.cache) if options.cache else default_folder())
    store.sweep()
    if isinstance(plan.model, Location):
        remember(store, plan.model, options.device, spec.precision, model.info)
    return Bench(model, store, options.batch_size, limit=limit, fresh=options.fresh)


def load_or_check(
    given: Any, device: str, precision: str = "auto", *, trust_remote_code: bool = False
) -> SpeechModel:
    """Load the checkpoint that a name or location stands for, or check a loaded model; raises as `bench_of`."""
    if isinstance(given, str | Location):
        return load_located(
            locate(given) if isinstance(given, str) else given,
            device=device,
            precision=precision,
            trust_remote_code=trust_remote_code,
        )
    model: SpeechModel = check_model(given)
    for what, asked, found in (
        ("precision", precision, model.info.precision),
        ("device", device, model.info.device),
    ):
        if asked not in ("auto", found):
            raise UsageError(
                f"the {what} of the loaded model is {found}, the run asks for {asked}; load the model so"
            )
    return model
