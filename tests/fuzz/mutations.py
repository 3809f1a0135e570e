"""Files as careless or hostile hands leave them: one or a few changes somewhere in a sound one."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 5, 99, 0.5, -0.5, 1e300, -1e300, 2**63 - 1, 10**400),
    *("", "x", "a\0b", "../../x", "\x1b]0;P\x07", "\u202ex", "\ud800", "x" * 5000, "<script>"),
    *([], {}, [1, 2, 3], [None], [[]], {"x": 1}, {"value": 1}),
)


def mutated(data: Any, generator: random.Random) -> Any:
    """Return a copy of plain data with one to three changes at random places."""
    changed = copy.deepcopy(data)
    for _ in range(generator.randint(1, 3)):
        changed = _changed(changed, generator)
    return changed


def _changed(data: Any, generator: random.Random) -> Any:
    place, depth = data, generator.randint(1, 6)
    parent, key = None, None
    for _ in range(depth):
        if not isinstance(place, dict | list) or not place:
            break
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        parent, key = place, generator.choice(keys)
        place = place[key]
    if parent is None:
        return generator.choice(VALUES)
    how = generator.choice(["replace", "replace", "replace", "delete", "repeat", "add"])
    if how == "delete":
        del parent[key]
    elif how == "repeat" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(place))
    elif how == "add" and isinstance(parent, dict):
        parent[generator.choice(["x", "\ud800", "__class__", ""])] = generator.choice(VALUES)
    else:
        parent[key] = copy.deepcopy(generator.choice(VALUES))
    return data


def as_bytes(data: Any, generator: random.Random) -> bytes:
    """Serialise as others may: NaN allowed, surrogates too, and now and then with a damage of the bytes."""
    text = json.dumps(data, ensure_ascii=generator.random() < 0.5)
    content = bytearray(text.encode("utf-8", "surrogatepass"))
    if content and generator.random() < 0.3:
        damage(content, generator)
    return bytes(content)


def damage(content: bytearray, generator: random.Random) -> None:
    """Flip, cut, repeat or insert bytes."""
    place, length = generator.randrange(len(content)), generator.randint(1, 60)
    match generator.choice(["flip", "cut", "repeat", "insert"]):
        case "flip":
            content[place] ^= 1 << generator.randrange(8)
        case "cut":
            del content[place:]
        case "repeat":
            content[place:place] = content[place : place + length]
        case "insert":
            content[place:place] = generator.randbytes(length)
