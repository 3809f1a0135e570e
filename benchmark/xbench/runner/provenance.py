"""Which code, packages, plugins and command made a result."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xbench import registry
from xbench.models.protocol import ModelInfo
from xbench.results import Provenance
from xbench.runner.plan import Method, TaskPlan
from xbench.spec import LOCAL, RunSpec, content_hash

_PACKAGES = ("captum", "numpy", "scikit-image", "scipy", "torch", "transformers")


def spec_hash(plan: TaskPlan, method: Method, info: ModelInfo, spec: RunSpec) -> str:
    """Return the hash of everything that determines one result; names its file."""
    return content_hash(
        {
            "model": [info.name, info.source, info.revision, info.precision],
            "method": [method.call.name, method.description.version, method.call.given],
            "task": plan.task.hash,
            "dataset": plan.manifest.fingerprint,
            "selection": asdict(spec.selection),
            "seed": spec.seed,
            **({"distribution": LOCAL} if method.distribution == LOCAL else {}),
            "dev": plan.dev.fingerprint if plan.dev and method.description.fit else None,
        }
    )


def provenance(
    plan: TaskPlan, method: Method, info: ModelInfo, spec: RunSpec, started: datetime
) -> Provenance:
    """Return where a result comes from, without any path of this machine."""
    plugins = [
        _model(info),
        *_method(method),
        *[_plugin("metric", registry.metrics.entry(c.name)) for c in plan.task.metrics],
        *[_plugin("reference", registry.references.entry(c.name)) for c in plan.task.references],
    ]
    return Provenance(
        xbench=_version("xbench"),
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        git=git_state(),
        plugins=plugins,
        command=_command(),
        seed=spec.seed,
        spec_hash=spec_hash(plan, method, info, spec),
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _plugin(kind: str, entry: registry.Entry[Any]) -> dict[str, str]:
    return {
        "kind": kind,
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.distribution_version,
    }


def _own(kind: str, name: str, version: str) -> dict[str, str]:
    """Return the row of what no package registers."""
    return {"kind": kind, "name": name, "distribution": LOCAL, "version": version}


def _model(info: ModelInfo) -> dict[str, str]:
    if info.family in registry.models.names():
        return _plugin("model", registry.models.entry(info.family))
    return _own("model", info.name, info.revision)


def _method(method: Method) -> list[dict[str, str]]:
    """Return the plugin of the method; maps made elsewhere have none."""
    if method.distribution == LOCAL:
        return [_own("method", method.call.name, method.description.version)]
    return (
        [_plugin("method", registry.methods.entry(method.call.name))] if method.distribution else []
    )


def _command() -> list[str]:
    if Path(sys.argv[0]).stem != "xbench":
        return ["xbench.evaluate"]  # called from Python, whose own arguments say nothing
    return ["xbench", *map(without_folders, sys.argv[1:])]


def without_folders(argument: str) -> str:
    """Reduce an absolute path inside a command-line argument to its last part."""
    return re.sub(r"(^|[:=,+])((?:~|/|[A-Za-z]:\\)[^:=,]*)", _last_part, argument)


def _last_part(path: re.Match[str]) -> str:
    return path[1] + re.split(r"[/\\]", path[2].rstrip("/\\"))[-1]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


@cache
def git_state() -> dict[str, Any] | None:
    """Return commit and dirtiness of the checkout xbench runs from; None when it is installed."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
