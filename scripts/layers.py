"""Draw the import graph of the package in figures: layers, circles, imports that look up.

    python scripts/layers.py [FOLDER]        FOLDER: a package folder, by default benchmark/xbench

A *room* is a folder of the package, or a module that lies loose in its top folder. Every import counts, those inside
functions and under TYPE_CHECKING too. Rooms that import each other in a circle stand on one layer; any other room
stands one layer above the highest room that it imports. `tests/test_layers.py` holds the order.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "benchmark" / "xbench"
Graph = Mapping[str, set[str]]


def imports(path: Path) -> Iterator[str]:
    """Yield every name that a file imports, with its module: `a.b.c` for `from a.b import c`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_graph(package: Path) -> Graph:
    """Return which modules of a package each of them imports."""
    files = {_module_name(package, path): path for path in sorted(package.rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        found = {_known(target, files) for target in imports(path)}
        graph[name] = {target for target in found if target and target != name}
    return graph


def _module_name(package: Path, path: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _known(target: str, files: Mapping[str, Path]) -> str | None:
    """Return the module that an imported name lies in; None for other packages."""
    while target and target not in files:
        target = target.rpartition(".")[0]
    return target or None


def room(module: str) -> str:
    """Return the room of a module: `xbench.site.pages` lies in `site`, `xbench.spec` is a room of its own."""
    return [*module.split("."), "__init__"][1]


def room_graph(graph: Graph) -> Graph:
    """Return which rooms each room imports."""
    rooms: dict[str, set[str]] = {}
    for module, targets in graph.items():
        own = rooms.setdefault(room(module), set())
        own |= {room(target) for target in targets} - {room(module)}
    return rooms


def circles(graph: Graph) -> list[set[str]]:
    """Return the groups of more than one node that import each other, directly or not."""
    reach = {node: _reachable(graph, node) for node in graph}
    found = {frozenset({n, *(m for m in reach[n] if n in reach[m])}) for n in graph}
    return [set(group) for group in sorted(found, key=sorted) if len(group) > 1]


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def layers(rooms: Graph) -> dict[str, int]:
    """Return the layer of each room, from 1 at the bottom; rooms of one circle share theirs."""
    groups = circles(rooms)
    group_of = {name: min(group) for group in groups for name in group}
    merged: dict[str, set[str]] = {}
    for name, targets in rooms.items():
        own = group_of.get(name, name)
        merged.setdefault(own, set()).update(group_of.get(t, t) for t in targets)
        merged[own].discard(own)
    height: dict[str, int] = {}
    for name in TopologicalSorter(merged).static_order():
        height[name] = 1 + max((height[target] for target in merged[name]), default=0)
    return {name: height[group_of.get(name, name)] for name in rooms}


def main(package: Path) -> None:
    """Print the figures of a package."""
    graph = module_graph(package)
    rooms = room_graph(graph)
    height = layers(rooms)
    loose = sum(path.suffix == ".py" for path in package.iterdir())
    of_modules, of_rooms = circles(graph), circles(rooms)
    print(f"{len(graph)} modules in {len(rooms)} rooms, {loose} of them loose in the top folder")
    print(
        f"{max(height.values())} layers; circles of modules: {len(of_modules)}, of rooms: {len(of_rooms)}"
    )
    for group in of_modules:
        print(f"  circle of modules: {', '.join(sorted(group))}")
    for level in range(max(height.values()), 0, -1):
        print(f"{level:3}  {', '.join(sorted(name for name in rooms if height[name] == level))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
