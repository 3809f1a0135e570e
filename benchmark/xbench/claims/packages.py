"""From which packages a result says that its model, method, metrics and references are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xbench import registry
from xbench.claims.here import own_version
from xbench.registry import Registry
from xbench.results import RunResult

_KINDS: Mapping[str, Registry] = {
    "model": registry.models,
    "method": registry.methods,
    "metric": registry.metrics,
    "reference": registry.references,
}


def package_problems(result: RunResult) -> Iterator[str]:
    """Yield packages that cannot be: a run names one for its model at least, and ours has what it registers here."""
    here = own_version()
    stated = result.provenance
    if not stated.plugins:
        yield "provenance.plugins: empty, but a run names at least the package of its model"
    for index, plugin in enumerate(stated.plugins):
        place, name, kind = f"provenance.plugins[{index}]", plugin["name"], plugin["kind"]
        if kind == "method" and name != result.method.name:
            yield f"{place}.name: '{name}', but the method is '{result.method.name}'"
        if plugin["distribution"] != registry.OURS:
            continue
        if plugin["version"] != stated.xbench:
            yield f"{place}.version: '{plugin['version']}', but provenance.xbench is '{stated.xbench}'"
        elif stated.xbench == here and kind in _KINDS and not _ours(_KINDS[kind], name):
            yield f"{place}: {kind} '{name}' of xbench {here}, but xbench {here} has none of this name"


def _ours(kind: Registry, name: str) -> bool:
    return any(e.name == name and e.distribution == registry.OURS for e in kind.entries())
