"""What a plugin must leave as it was, as flat dictionaries that are compared before and after a call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from xbench.case import Case
from xbench.models.metered import model_classes
from xbench.models.private import attention_name
from xbench.models.protocol import SpeechModel
from xbench.surroundings import undisturbed
from xbench.testing.battery import Broken

State = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Watched:
    """What a call must leave alone, before and after it: `hooks`, `model`, `case`, `surroundings`."""

    before: Mapping[str, State]
    after: Mapping[str, State]

    def refuse_changes(self, what: str) -> None:
        """Raise Broken, naming the first of the things that are not what they were."""
        before, after = self.before[what], self.after[what]
        keys = before.keys() | after.keys()
        changed = sorted(k for k in keys if before.get(k) != after.get(k))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise Broken(f"the call changed {changed[0]}{more}")


def watch(case: Case, call: Callable[[], T]) -> tuple[T, Watched]:
    """Make a call, and return what it gives with what everything around it was before and after."""
    before = _everything(case)
    with undisturbed(*model_classes(case.model)) as changed:
        given = call()
    after = _everything(case)
    after["surroundings"] |= dict.fromkeys(changed, "changed")
    return given, Watched(before, after)


def _everything(case: Case) -> dict[str, State]:
    return {
        "hooks": _hook_state(case.model),
        "model": _weight_state(case.model),
        "case": _data_state(case),
        "surroundings": surroundings(),
    }


def _modules(model: SpeechModel) -> Iterator[tuple[str, nn.Module]]:
    owned = {"network": getattr(model, "network", None), **vars(model)}
    for owner, value in owned.items():
        if isinstance(value, nn.Module):
            yield from ((f"{owner}.{name}", module) for name, module in value.named_modules())


def _bytes(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes()).hexdigest()


def _hook_state(model: SpeechModel) -> State:
    """Return the hooks and the names of the attributes of a model's modules."""
    state: State = {}
    for name, module in _modules(model):
        attributes = vars(module)
        state[f"{name}: attributes"] = sorted(attributes)
        for kind, hooks in attributes.items():
            if "hooks" in kind and isinstance(hooks, Mapping):
                state[f"{name}: {kind}"] = list(hooks)
    shared = vars(torch.nn.modules.module)
    state |= {k: list(v) for k, v in shared.items() if k.startswith("_global_") and "hooks" in k}
    return state


def model_state(model: SpeechModel) -> State:
    """Return hooks, weights and flags of a model's modules, for comparison."""
    return _hook_state(model) | _weight_state(model)


def _weight_state(model: SpeechModel) -> State:
    """Return what determines a model's outputs: weights, gradients, training mode, configuration."""
    state: State = {}
    for name, module in _modules(model):
        state[f"{name}: training mode"] = module.training
        for key, tensor in module.named_buffers(recurse=False):
            state[f"{name}.{key}"] = _bytes(tensor)
        for key, parameter in module.named_parameters(recurse=False):
            state[f"{name}.{key}"] = _bytes(parameter)
            state[f"{name}.{key}: requires_grad"] = parameter.requires_grad
            state[f"{name}.{key}: gradient"] = parameter.grad is not None
        if config := getattr(module, "config", None):
            state[f"{name}: configuration"] = str(config)
            state[f"{name}: attention"] = attention_name(config)
    return state


def _data_state(case: Case) -> State:
    """Return the contents of a case's features, hypothesis and trace."""
    state: State = {"hypothesis": case.hypothesis}
    for owner in (case.features, case.trace):
        _add(state, type(owner).__name__.lower(), owner)
    return state


def _add(state: State, name: str, value: Any) -> None:
    """Flatten dataclasses, mappings and sequences of tensors into one dictionary."""
    if isinstance(value, Tensor):
        state[name] = (tuple(value.shape), value.requires_grad, _bytes(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _add(state, f"{name}.{key}", item)
    elif isinstance(value, tuple):
        for key, item in enumerate(value):
            _add(state, f"{name}[{key}]", item)
    elif hasattr(value, "__dataclass_fields__"):
        for item in fields(value):
            _add(state, f"{name}.{item.name}", getattr(value, item.name))


def surroundings() -> State:
    """Return what the whole process shares: random numbers, gradient mode, default type, threads."""
    generator: Any = np.random.get_state(legacy=True)
    return {
        "torch's random numbers": _bytes(torch.get_rng_state()),
        "numpy's random numbers": str(generator) + str(np.asarray(generator[1]).tobytes()),
        "gradient mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default type": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }
