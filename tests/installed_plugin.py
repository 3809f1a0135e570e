"""Plugins that a test installs: distributions with entry points, each of one module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xbench import registry

DESCRIPTION = """
from xbench.description import MethodDescription
{name} = MethodDescription(
    name="{method}", version="7", summary="a test", source="here", implementation="{module}:run",
    kind="control", distribution=True,
)
"""

Install = Callable[..., None]


def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yield a function that installs a distribution with entry points and one module, then forget them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def write(distribution: str, module: str, points: dict[str, str], code: str) -> None:
        info = tmp_path / f"{distribution.replace('-', '_')}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n"
        )
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[xbench.methods]", *lines]) + "\n")
        (tmp_path / f"{module}.py").write_text(code)
        modules.append(module)
        importlib.invalidate_caches()
        registry._load.cache_clear()

    yield write
    for module in modules:
        sys.modules.pop(module, None)
    registry._load.cache_clear()


def plugin(install: Install, distribution: str, module: str, method: str) -> None:
    """Install a distribution that registers one method of version 7."""
    code = DESCRIPTION.format(name="METHOD", method=method, module=module)
    install(distribution, module, {method: f"{module}:METHOD"}, code)
