"""Hooks of mkdocs: the site is `docs/`, the pages of the repository that it links to, and two pages made of code.

`make docs` builds it, strictly: a link to nothing, or a public name without a docstring, ends the build. Pages of the
repository (README, CONTRIBUTING, perf/, ...) lie below `project/` of the site. Links to files that are no pages become
plain text, since the site has no copy of them.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
PROJECT = "project/"


def repository_pages() -> list[str]:
    """Return the Markdown pages outside docs/ that the site shows, as paths in the repository."""
    models = [f"benchmark/xbench/demo/{name}" for name in ("model", "model-lm")]
    folders = ("", "tasks", "submissions", "leaderboard", "perf", *models)
    return [
        posixpath.join(folder, file.name)
        for folder in folders
        for file in sorted((ROOT / folder).glob("*.md"))
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository and those made of code."""
    made = {PROJECT + page: (ROOT / page).read_text("utf-8") for page in repository_pages()}
    made |= {"python-api.md": python_api(), "result-schema.md": result_schema()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between places of the repository into links between places of the site."""
    own = page.file.src_uri
    here = own.removeprefix(PROJECT) if own.startswith(PROJECT) else f"docs/{own}"

    def replaced(found: re.Match[str]) -> str:
        picture, label, target, anchor = found.groups()
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        place = path.removeprefix("docs/") if path.startswith("docs/") else PROJECT + path
        if (known := files.get_file_from_path(place)) is not None:
            link = posixpath.relpath(known.src_uri, posixpath.dirname(own) or ".")
            return f"{picture}[{label}]({link}{anchor or ''})"
        if (ROOT / path).exists():
            folder = posixpath.join(place, "README.md")
            index = posixpath.join(place, "index.md")
            for candidate in (folder, index):
                if files.get_file_from_path(candidate) is not None:
                    link = posixpath.relpath(candidate, posixpath.dirname(own) or ".")
                    return f"[{label}]({link}{anchor or ''})"
            return label if "`" in label else f"{label} (`{path}`)"
        raise PluginError(f"{here}: links to '{target}', which is not there")

    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(b if b.startswith("```") else LINK.sub(replaced, b) for b in blocks)


# -- pages made of code ---------------------------------------------------------------------------


def python_api() -> str:
    """Return the page of all public names of `xbench`; raises PluginError for one without a docstring."""
    import xbench

    parts = [
        "# Python API",
        "Everything that `import xbench` offers. Names are loaded on first use, so the import is quick.",
    ]
    for name in sorted(xbench.__all__, key=str.lower):
        thing = getattr(xbench, name)
        parts += [f"## `{name}`", *_described(name, thing)]
    return "\n\n".join(parts) + "\n"


def _described(name: str, thing: Any) -> Iterator[str]:
    yield f"```python\n{_signature(name, thing)}\n```"
    yield _docstring(name, thing)
    if not inspect.isclass(thing):
        return
    for member, value in vars(thing).items():
        if member.startswith("_") or not (
            inspect.isfunction(value) or isinstance(value, property | classmethod)
        ):
            continue
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not function.__doc__ and issubclass(thing, Exception):
            continue
        shown = f".{member}" if isinstance(value, property) else f".{_signature(member, function)}"
        yield f"**`{shown}`**"
        yield _docstring(f"{name}.{member}", function)


def _signature(name: str, thing: Any) -> str:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return name
    shown = [
        p.replace(annotation=p.empty, default=p.default if _plain(p.default) else ...)
        if p.default is not p.empty
        else p.replace(annotation=p.empty)
        for p in parameters
        if p.name != "self"
    ]
    return f"{name}{inspect.Signature(shown)}"


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | tuple)


def _docstring(name: str, thing: Any) -> str:
    text = inspect.getdoc(thing)
    generated = dataclasses.is_dataclass(thing) and (text or "").startswith(f"{name}(")
    if not text or generated:
        raise PluginError(f"xbench.{name} has no docstring")
    # Fields and arguments are written `name: meaning` within a paragraph; each gets a line of its own.
    text = re.sub(
        r"(?:(?<=\. )|^)([a-z_]+(?:, [a-z_]+)*): (?=\S)", r"\n- **\1**: ", text, flags=re.MULTILINE
    )
    return re.sub(r"\n*\n- \*\*", "\n\n- **", text).strip()


def result_schema() -> str:
    """Return the page of all fields of a result file, from its JSON schema."""
    schema = json.loads((ROOT / "benchmark/xbench/schemas/result.schema.json").read_text("utf-8"))
    rows = [
        f"| `{place}` | {kind} | {meaning} |"
        for place, kind, meaning in _fields("", schema, schema)
    ]
    head = ["| field | type | meaning |", "|---|---|---|"]
    return "\n".join(["# The result file", "", schema.get("description", ""), "", *head, *rows, ""])


def _fields(
    place: str, schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        field = _resolved(field, root)
        here = f"{place}.{name}".strip(".")
        yield here, _kind(field), str(field.get("description", "")).replace("|", "\\|")
        yield from _fields(here, field, root)
        yield from _fields(f"{here}[]", _resolved(field.get("items", {}), root), root)


def _resolved(field: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref")
    if not isinstance(reference, str):
        return field
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return {**found, **{k: v for k, v in field.items() if k != "$ref"}}


def _kind(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
