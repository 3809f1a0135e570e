"""The facts of a model that an earlier run loaded: enough to find what the store holds of it, without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from xbench.errors import EnvironmentProblem
from xbench.models.checkpoint import checked
from xbench.models.loading import Location, device_named
from xbench.models.protocol import ModelInfo
from xbench.runner.keys import model_key
from xbench.runner.record import rebuild
from xbench.spec import canonical_json
from xbench.store import Key, Store


def remember(
    store: Store, location: Location, device: str, precision: str, info: ModelInfo
) -> None:
    """Keep the facts of a model that was loaded; a store that may only be read goes without."""
    key, facts = _key(location, device, precision), {"info": asdict(info)}
    stored = store.get(key)
    if stored is None or stored.facts != json.loads(canonical_json(facts)):
        with suppress(EnvironmentProblem):
            store.put(key, {}, facts)


def recall(store: Store, location: Location, device: str, precision: str) -> ModelInfo | None:
    """Return the facts of the model last loaded by this name; its weights may be others by now (`is_still`)."""
    stored = store.get(_key(location, device, precision))
    if stored is None:
        return None
    info: ModelInfo = rebuild(ModelInfo, stored.facts["info"])
    return info


def is_still(location: Location, info: ModelInfo) -> bool:
    """Say whether the weights that lie there now are those of the facts; raises as loading does."""
    return checked(location, None).revision == info.revision


def _key(location: Location, device: str, precision: str) -> Key:
    asked: Mapping[str, Any] = {
        "name": location.name,
        "family": location.family,
        "source": location.source,
        "revision": location.revision,
        "device": device_named(device),
        "precision": precision,
    }
    return model_key(asked)
