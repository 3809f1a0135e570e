"""`xbench new`: a working package with one plugin and its test, to be changed."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from pathlib import Path
from string import Template

from xbench import registry, tasks
from xbench.errors import UsageError, nearest
from xbench.store import write_atomically

_TEMPLATES = Path(__file__).with_name("skeletons")
KINDS = ("method", "model", "metric", "reference", "dataset", "task")


def _registered(kind: str) -> Collection[str]:
    if kind == "task":
        return {file.name for file in tasks.task_index()}
    group: registry.Registry = getattr(registry, f"{kind}s")
    return {entry.name for entry in group.entries()}


def new(kind: str, name: str, parent: Path) -> list[Path]:
    """Write the package `parent/name` and return its files.

    Raises:
        UsageError: an unknown kind, a name that is none of a package or registered, or a folder that is there.
    """
    if kind not in KINDS:
        raise UsageError(
            f"cannot make a '{kind}'{nearest(kind, KINDS)}; there is {', '.join(KINDS)}"
        )
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise UsageError(f"'{name}' is no name: lower-case letters and digits, joined by '-'")
    if name in _registered(kind):
        raise UsageError(f"there is a {kind} '{name}' already; two of one name cannot be called")
    root = parent / name
    if root.exists():
        raise UsageError(f"{root} is there already; choose another name or folder")
    places = {
        "__package__.py": f"{package}/{package}.py",
        "catalogue.py": f"{package}/catalogue.py",
        "test.py": f"tests/test_{package}.py",
        "task.yaml": f"{package}/tasks/{name}.yaml",
    }
    files = [root / package / "__init__.py"]
    write_atomically(files[0], f'"""{name}, a {kind} for xbench."""\n'.encode())
    for template in sorted((_TEMPLATES / kind).glob("*.template")):
        plain = template.name.removesuffix(".template")
        text = Template(template.read_text("utf-8")).substitute(name=name, package=package)
        files.append(root / places.get(plain, plain))
        write_atomically(files[-1], text.encode())
    return files
