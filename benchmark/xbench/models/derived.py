"""Networks made out of a loaded network (other weights, another precision), kept for as long as it lives.

Every utterance of a run asks for the same ones, and making one takes longer than an utterance. They must not outlive
the network that they come from: whoever loads a second model needs the memory of the first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from functools import update_wrapper
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class OncePerNetwork(Generic[K, V]):
    """A function of a network and a key that remembers its last results, and forgets them with the network.

    function: its results must not hold the network itself, else neither is ever freed; its submodules and
    weights they may share. at_most: keys per network whose results are kept, the oldest go first.
    """

    __wrapped__: Callable[[nn.Module, K], V]

    def __init__(self, function: Callable[[nn.Module, K], V], at_most: int) -> None:
        update_wrapper(self, function)
        self._at_most = at_most
        self.calls = 0  # so that one can tell whether somebody asked
        self._kept: WeakKeyDictionary[nn.Module, dict[K, V]] = WeakKeyDictionary()

    def __call__(self, network: nn.Module, key: K) -> V:
        """Return the result, made where it is not kept."""
        self.calls += 1
        kept = self._kept.setdefault(network, {})
        if key not in kept:
            while len(kept) >= self._at_most:
                del kept[next(iter(kept))]
            kept[key] = self.__wrapped__(network, key)
        return kept[key]

    def cache_clear(self) -> None:
        """Forget all results, as functions under `functools.lru_cache` do."""
        self._kept.clear()


def once_per_network(
    *, at_most: int
) -> Callable[[Callable[[nn.Module, K], V]], OncePerNetwork[K, V]]:
    """Return a decorator that makes a function of a network and a key an `OncePerNetwork`."""
    return lambda function: OncePerNetwork(function, at_most)


@once_per_network(at_most=1)  # a run asks for one seed at a time
def reinitialised(network: Any, seed: int) -> nn.Module:
    """Return the architecture of a transformers model with weights as transformers draws them before training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        anew = type(network)(copy.deepcopy(network.config))
    anew = anew.to(network.device, network.dtype).eval().requires_grad_(False)
    anew.generation_config = network.generation_config
    return anew
