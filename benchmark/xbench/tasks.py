"""Task and suite files: found by name, read strictly, checked as a whole, turned into TaskSpecs.

A file that starts with `_` is a fragment for `include`; every other `*.yaml` file of a task folder
is a task or a suite, named like the file. Problems of a file are reported together, each with its
line; nothing of a broken file is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xbench import registry
from xbench.description import CorpusDescription, Description, TaskFolder
from xbench.errors import UnknownName, UsageError, nearest
from xbench.schemas import InvalidFile, Problem, find_problems
from xbench.spec import (
    FROM_USER,
    Call,
    Dataset,
    Decoding,
    Headline,
    Quality,
    Scalar,
    Scoring,
    TaskSpec,
)
from xbench.strict_yaml import Document, Place, display, merge, read_yaml

SUITE = "xbench.suite/1"
_ASSUMED_CLIP_SECONDS = 10.0
_QUALITY_METRICS = {"asr": ("wer",), "st": ("chrf", "bleu")}

BUILTIN = TaskFolder(
    name="builtin",
    version="1",
    summary="The tasks that xbench comes with.",
    source="tasks/",
    implementation="xbench.tasks:builtin_folder",
)


def builtin_folder() -> Path:
    """Return the task folder packed into the wheel, or else the checkout's `tasks/`."""
    packed = Path(__file__).parent / "_tasks"
    return packed if packed.is_dir() else Path(__file__).parents[2] / "tasks"


@dataclass(frozen=True)
class TaskFile:
    """One task or suite of a registered folder, or what keeps it from being used.

    kind: `broken` for a file or a whole folder that cannot be read. error: why it is broken, or
    that another folder has a file of the same name.
    """

    name: str
    kind: Literal["task", "suite", "broken"]
    folder: str
    path: Path
    title: str
    error: str | None = None


def load_task(path_or_name: str | Path, preset: str | None = None) -> TaskSpec:
    """Return one task with its includes merged and a preset laid over it (None: its own default).

    Raises:
        UnknownName: no registered folder has a task of that name.
        InvalidFile: the file has problems; all of them are told.
        UsageError: the name is a suite's or in several folders, or the preset is unknown.
    """
    document = _sound(path_or_name)
    return _build(document, preset or document.value["preset"])


def load_presets(path_or_name: str | Path) -> dict[str, TaskSpec]:
    """Return one task under each of its presets, by their names, its own default first.

    Raises:
        UnknownName, InvalidFile, UsageError: as `load_task`.
    """
    document = _sound(path_or_name)
    names = dict.fromkeys((document.value["preset"], *document.value["presets"]))
    return {name: _build(document, name) for name in names}


def _sound(path_or_name: str | Path) -> Document:
    """Return the merged document of a task in which no problem was found."""
    located = _locate(path_or_name)
    document = located.read()
    if _is_suite(document):
        raise UsageError(f"'{path_or_name}' is a suite, not a task")
    _refuse(located, _task_problems(document, located.path))
    return document


def load_suite(path_or_name: str | Path) -> tuple[str, ...]:
    """Return the tasks of a suite, nested suites included, in order and without repetition.

    Tasks are returned by name, those of a folder that no plugin registered by path.

    Raises:
        InvalidFile: the suite, or one within it, has problems.
        UsageError: the suite contains itself, or the name is a task's.
    """
    located = _locate(path_or_name)
    if not _is_suite(located.read()):
        raise UsageError(f"'{path_or_name}' is a task, not a suite")
    return tuple(dict.fromkeys(_flatten(located, ())))


def resolve_tasks(names: Iterable[str], preset: str | None = None) -> tuple[TaskSpec, ...]:
    """Return the tasks that names of tasks or suites, or paths of their files, stand for.

    The order is kept and repetitions are dropped.

    Raises:
        UsageError: as `load_task` and `load_suite`, or two different tasks share a name.
    """
    references = [reference for name in names for reference in _flatten(_locate(name), ())]
    tasks = {task.hash: task for task in (load_task(r, preset) for r in dict.fromkeys(references))}
    by_name: dict[str, TaskSpec] = {}
    for task in tasks.values():
        if by_name.setdefault(task.name, task) is not task:
            raise UsageError(f"two different tasks are called '{task.name}'; rename one of them")
    return tuple(tasks.values())


def task_index() -> tuple[TaskFile, ...]:
    """Return every task and suite of every registered folder by name, unusable ones included."""
    files: list[TaskFile] = []
    for entry in registry.task_folders.entries():
        try:
            folder = _registered(entry)
        except UsageError as problem:
            files.append(TaskFile(entry.name, "broken", entry.name, Path(), "", str(problem)))
        else:
            files.extend(_describe(path, folder) for path in folder.files())
    files.sort(key=lambda f: (f.name, f.folder))
    return tuple(_mark_collision(file, files) for file in files)


def describe(path_or_name: str | Path) -> TaskFile:
    """Return which task or suite a name or a path stands for; reads its file and no other.

    Raises:
        UnknownName, UsageError: as `load_task`.
    """
    located = _locate(path_or_name)
    return _describe(located.path, located.folder)


def passes(task: TaskSpec) -> dict[str, int]:
    """Return the forward passes that one utterance takes at most: `full`, and `decoder` alone.

    A reference over the spectrogram runs the whole model for every mask and once without; one over
    encoder frames runs the decoder alone. Decoding and one trace are one full pass.
    """
    counts = {"full": 1, "decoder": 0}
    for call in task.references:
        masks = int(call.given.get("masks", 0))
        on_input = registry.references.get(call.name).space == "input"
        counts["full" if on_input else "decoder"] += masks + 1
    return counts


def clip_seconds(task: TaskSpec) -> tuple[float, str]:
    """Return the typical length of a task's clips in seconds, and where that is from."""
    if task.dataset.name != FROM_USER:
        description = registry.datasets.get(task.dataset.name)
        if isinstance(description, CorpusDescription) and description.clip_seconds:
            return description.clip_seconds, f"mean of {description.name}"
    return _ASSUMED_CLIP_SECONDS, "assumed"


def validate_task_file(path: Path) -> list[str]:
    """Return every problem of a task, suite or fragment file, as `file:line: path: reason`."""
    located = _locate_path(path)
    try:
        document = located.read()
        if path.name.startswith("_"):
            return _located(document, find_problems("task", document.value, partial=True))
        if not _is_suite(document):
            return _task_problems(document, path)
        if problems := _suite_problems(document, located):
            return problems
        list(_flatten(located, ()))
    except InvalidFile as error:
        return list(error.problems)
    except UsageError as error:
        return [f"{Place(path, 1)}: {error}"]
    return []


# Finding files


@dataclass(frozen=True)
class _Folder:
    """A folder of task files; `name` is empty for one that no plugin registered."""

    name: str
    root: Path

    def files(self) -> list[Path]:
        return [f for f in sorted(self.root.rglob("*.yaml")) if not f.name.startswith("_")]


@dataclass(frozen=True)
class _Located:
    """A task or suite file, the folder its includes must stay in, and what finds it again."""

    reference: str
    path: Path
    folder: _Folder

    def read(self) -> Document:
        return _read_merged(self.path, self.folder.root, ())


def _locate(path_or_name: str | Path) -> _Located:
    if isinstance(path_or_name, Path) or path_or_name.endswith(".yaml"):
        return _locate_path(Path(path_or_name))
    return _locate_name(path_or_name, _registered_folders())


def _locate_path(path: Path) -> _Located:
    for folder in _registered_folders():
        if path.resolve().is_relative_to(folder.root.resolve()):
            return _Located(str(path), path, folder)
    return _Located(str(path), path, _Folder("", path.parent))


def _locate_name(name: str, folders: list[_Folder]) -> _Located:
    prefix, _, stem = name.rpartition(":")
    everything = [(file, folder) for folder in folders for file in folder.files()]
    found = [
        (f, folder) for f, folder in everything if f.stem == stem and prefix in ("", folder.name)
    ]
    if not found:
        raise UnknownName("task", name, {file.stem for file, _ in everything})
    if len(found) > 1:
        files = " and ".join(display(file) for file, _ in found)
        names = sorted({f"'{folder.name}:{stem}'" for _, folder in found if folder.name})
        write = f"; write {' or '.join(names)}" if len(names) > 1 else ""
        raise UsageError(f"task '{name}' has several files: {files}{write}")
    file, folder = found[0]
    return _Located(name if folder.name else str(file), file, folder)


def _registered_folders() -> list[_Folder]:
    """Return the folders that load; a broken one is told by `task_index` only."""
    folders = []
    for entry in registry.task_folders.entries():
        try:
            folders.append(_registered(entry))
        except UsageError:
            continue
    return folders


def _registered(entry: registry.Entry[TaskFolder]) -> _Folder:
    description = registry.task_folders.get(f"{entry.distribution}:{entry.name}")
    try:
        root = description.load()()
    except Exception as problem:  # a stranger's plugin may fail in any way; the index says how
        raise UsageError(
            f"task folder '{entry.name}': {type(problem).__name__}: {problem}"
        ) from problem
    if not isinstance(root, Path) or not root.is_dir():
        raise UsageError(f"task folder '{entry.name}': {root} is not a folder")
    return _Folder(entry.name, root)


def _describe(path: Path, folder: _Folder) -> TaskFile:
    try:
        document = _read_merged(path, folder.root, ())
    except InvalidFile as error:
        return TaskFile(path.stem, "broken", folder.name, path, "", error.problems[0])
    kind: Literal["task", "suite"] = "suite" if _is_suite(document) else "task"
    return TaskFile(path.stem, kind, folder.name, path, str(document.value.get("title", "")))


def _mark_collision(file: TaskFile, files: list[TaskFile]) -> TaskFile:
    others = [display(f.path) for f in files if f.name == file.name and f.path != file.path]
    if not others or file.error:
        return file
    return replace(file, error=f"its name is also that of {', '.join(others)}")


# Reading and merging


def _read_merged(path: Path, root: Path, chain: tuple[Path, ...]) -> Document:
    """Read a file over its includes; of several includes a later one wins over an earlier one."""
    document = read_yaml(path)
    included = document.value.pop("include", [])
    names = [included] if isinstance(included, str) else included
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _include_error(document, path, "expected a file name or a list of file names")
    here = (*chain, path.resolve())
    merged = Document({}, {})
    for name in names:
        try:
            target, home = _included(name, path, root)
        except UsageError as problem:
            raise _include_error(document, path, str(problem)) from None
        if reason := _include_problem(name, target, home, here):
            raise _include_error(document, path, reason)
        merged = merge(merged, _read_merged(target, home, here))
    return merge(merged, document)


def _included(name: str, path: Path, root: Path) -> tuple[Path, Path]:
    """Return the file an include names and the folder it stays in: its own, or that of `FOLDER:FILE`."""
    folder, colon, file = name.rpartition(":")
    if not colon:
        return path.parent / name, root
    home = _registered(registry.task_folders.entry(folder)).root
    return home / file, home


def _include_problem(name: str, target: Path, root: Path, chain: tuple[Path, ...]) -> str | None:
    resolved = target.resolve()
    if not resolved.is_relative_to(root.resolve()):
        return f"'{name}' lies outside the task folder {display(root)}"
    if resolved in chain:
        cycle = " -> ".join(p.name for p in (*chain[chain.index(resolved) :], resolved))
        return f"files include each other: {cycle}"
    if not target.is_file():
        hint = nearest(target.name, [f.name for f in target.parent.glob("*.yaml")])
        return f"there is no file '{name}'{hint}"
    return None


def _include_error(document: Document, path: Path, reason: str) -> InvalidFile:
    return InvalidFile(display(path), _located(document, [Problem(("include",), reason)]))


def _with_preset(document: Document, preset: str) -> Document:
    at = ("presets", preset)
    places = {path[2:]: place for path, place in document.places.items() if path[:2] == at}
    return merge(document, Document(document.value["presets"][preset], places))


def _is_suite(document: Document) -> bool:
    return document.value.get("schema") == SUITE


# Checking


@dataclass(frozen=True)
class _Check:
    """A rule across keys; it runs when the structure of all its `keys` is sound."""

    keys: tuple[str, ...]
    problems: Callable[[dict[str, Any]], Iterator[Problem]]


def _task_problems(document: Document, path: Path) -> list[str]:
    """Return the problems of a merged task file, in the order structure, rules, presets."""
    structure = find_problems("task", document.value)
    unsound = {str(p.path[0]) for p in structure if p.path}
    sound = document.value.keys() - unsound
    found = _located(document, structure)
    if "name" in sound and document.value["name"] != path.stem:
        reason = f"'{document.value['name']}' must be the name of the file, '{path.stem}'"
        found += _located(document, [Problem(("name",), reason)])
    found += _rule_problems(document, _TASK_CHECKS, sound)
    for preset in document.value["presets"] if "presets" in sound else ():
        found += _rule_problems(_with_preset(document, preset), _PRESET_CHECKS, sound)
    return list(dict.fromkeys(found))


def _rule_problems(document: Document, checks: tuple[_Check, ...], sound: set[str]) -> list[str]:
    runnable = [check for check in checks if sound.issuperset(check.keys)]
    return [
        text for check in runnable for text in _located(document, check.problems(document.value))
    ]


def _check_languages(value: dict[str, Any]) -> Iterator[Problem]:
    target = value["target_language"]
    if value["kind"] == "st" and target is None:
        yield Problem(("target_language",), "a task of kind st needs one")
    if value["kind"] == "asr" and target is not None:
        yield Problem(("target_language",), f"a task of kind asr has none, found '{target}'")
    if value["kind"] == "st" and target in value["source_languages"]:
        yield Problem(("source_languages",), f"'{target}' is the target language")


def _check_quality(value: dict[str, Any]) -> Iterator[Problem]:
    kind, metric = value["kind"], value["quality"]["metric"]
    if metric not in _QUALITY_METRICS[kind]:
        allowed = " or ".join(_QUALITY_METRICS[kind])
        yield Problem(("quality", "metric"), f"a task of kind {kind} takes {allowed}, not {metric}")


def _check_dataset(value: dict[str, Any]) -> Iterator[Problem]:
    dataset = Dataset(**value["dataset"])
    if dataset.name == FROM_USER:
        if dataset.dev_split is not None:
            yield Problem(
                ("dataset", "dev_split"), f"a {FROM_USER} given with --data has no dev split"
            )
        return
    try:
        splits = registry.datasets.get(dataset.name).splits
    except UsageError as error:
        yield Problem(("dataset", "name"), str(error))
        return
    for key, split in (("split", dataset.split), ("dev_split", dataset.dev_split)):
        if split is not None and split not in splits:
            reason = f"no split '{split}'{nearest(split, splits)}; there is {', '.join(splits)}"
            yield Problem(("dataset", key), reason)
    if dataset.split == dataset.dev_split:
        yield Problem(("dataset", "dev_split"), "is the split that is tested on")


def _check_floor(value: dict[str, Any]) -> Iterator[Problem]:
    yield from _unresolved(("floor",), partial(_resolve_text, registry.methods, value["floor"]))


def _check_default_preset(value: dict[str, Any]) -> Iterator[Problem]:
    preset, presets = value["preset"], value["presets"]
    if preset not in presets:
        yield Problem(("preset",), _no_preset(preset, presets))


def _check_references(value: dict[str, Any]) -> Iterator[Problem]:
    for name, call in _reference_calls(value).items():
        given = value["references"][name]
        target = _target(given)
        if target is not None and "reliability" not in target:
            yield Problem(("references", name, "until"), "missing key 'reliability'")
        if target is not None and "masks" in given and "max_masks" in target:
            yield Problem(("references", name, "masks"), "is given by until.max_masks already")
        try:
            description = registry.references.get(name)
        except UsageError as error:
            yield Problem(("references", name), str(error))
        else:
            yield from _parameter_problems(("references", name), description, call)


def _check_metrics(value: dict[str, Any]) -> Iterator[Problem]:
    for index, text in enumerate(value["metrics"]):
        yield from _unresolved(("metrics", index), partial(_resolve_text, registry.metrics, text))
        if _called(text) in map(_called, value["metrics"][:index]):
            yield Problem(
                ("metrics", index), f"'{_called(text)}' is there twice; a result has room for one"
            )


def _check_headline(value: dict[str, Any]) -> Iterator[Problem]:
    choices = {
        "metric": [_called(text) for text in value["metrics"]],
        "reference": list(_reference_calls(value)),
    }
    for key, known in choices.items():
        name = value["headline"].get(key)
        if name not in known:
            hint = nearest(name, known) or f"; there is {', '.join(known) or 'none'}"
            yield Problem(("headline", key), f"'{name}' is not among the {key}s of the task{hint}")


_TASK_CHECKS = (
    _Check(("kind", "source_languages", "target_language"), _check_languages),
    _Check(("kind", "quality"), _check_quality),
    _Check(("dataset",), _check_dataset),
    _Check(("floor",), _check_floor),
    _Check(("preset", "presets"), _check_default_preset),
)
_PRESET_CHECKS = (
    _Check(("references",), _check_references),
    _Check(("metrics",), _check_metrics),
    _Check(("headline", "metrics", "references"), _check_headline),
)


def _parameter_problems(
    path: tuple[str | int, ...], description: Description, call: Call
) -> Iterator[Problem]:
    """Resolve parameters one by one, so that each wrong one is told with its own line."""
    optional = tuple(replace(parameter, required=False) for parameter in description.parameters)
    lenient = replace(description, parameters=optional)
    found = [
        problem
        for key, given in call.params
        for problem in _unresolved(
            (*path, key), partial(lenient.resolve, Call(call.name, ((key, given),)))
        )
    ]
    yield from found or _unresolved(path, partial(description.resolve, call))


def _resolve_text(kind: registry.Registry[Any], text: str) -> Call:
    return kind.resolve(Call.parse(text))[1]


def _called(text: str) -> str:
    """Return the name of a call, parameters dropped; a text that is no call stands for itself."""
    try:
        return Call.parse(text).name
    except UsageError:
        return text


def _unresolved(path: tuple[str | int, ...], resolve: Callable[[], Any]) -> Iterator[Problem]:
    try:
        resolve()
    except UsageError as error:
        yield Problem(path, str(error))


def _suite_problems(document: Document, located: _Located) -> list[str]:
    value = document.value
    problems = list(find_problems("suite", value))
    if isinstance(value.get("name"), str) and value["name"] != located.path.stem:
        reason = f"'{value['name']}' must be the name of the file, '{located.path.stem}'"
        problems.append(Problem(("name",), reason))
    members = value.get("tasks")
    for index, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, str):
            problems += _unresolved(("tasks", index), partial(_member, member, located))
    return _located(document, problems)


def _flatten(located: _Located, chain: tuple[Path, ...]) -> Iterator[str]:
    """Yield what finds each task below a file, depth first; `chain` is the suites above it."""
    document = located.read()
    if not _is_suite(document):
        yield located.reference
        return
    _refuse(located, _suite_problems(document, located))
    here = (*chain, located.path.resolve())
    for index, name in enumerate(document.value["tasks"]):
        member = _member(name, located)
        if member.path.resolve() in here:
            cycle = " -> ".join(p.stem for p in (*here, member.path))
            problem = Problem(("tasks", index), f"suites contain each other: {cycle}")
            raise InvalidFile(display(located.path), _located(document, [problem]))
        yield from _flatten(member, here)


def _member(name: str, suite: _Located) -> _Located:
    own = [] if suite.folder.name else [suite.folder]
    return _locate_name(name, [*own, *_registered_folders()])


def _located(document: Document, problems: Iterable[Problem]) -> list[str]:
    return [document.locate(problem) for problem in problems]


def _refuse(located: _Located, problems: list[str]) -> None:
    if problems:
        raise InvalidFile(display(located.path), problems)


def _no_preset(preset: str, presets: Iterable[str]) -> str:
    known = list(presets)
    return (
        f"there is no preset '{preset}'{nearest(preset, known) or '; there is ' + ', '.join(known)}"
    )


# Building


def _build(document: Document, preset: str) -> TaskSpec:
    """Return the spec of a checked document with one preset laid over it."""
    presets = document.value["presets"]
    if preset not in presets:
        raise UsageError(f"task '{document.value['name']}': {_no_preset(preset, presets)}")
    value = _with_preset(document, preset).value
    return TaskSpec(
        name=value["name"],
        version=value["version"],
        title=value["title"],
        kind=value["kind"],
        source_languages=tuple(value["source_languages"]),
        target_language=value["target_language"],
        dataset=Dataset(**value["dataset"]),
        decoding=Decoding(**value["decoding"]),
        space=value["space"],
        references=tuple(
            registry.references.resolve(call)[1] for call in _reference_calls(value).values()
        ),
        scoring=Scoring(**value["scoring"]),
        metrics=in_order(_resolve_text(registry.metrics, text) for text in value["metrics"]),
        headline=Headline(**{key: _plain_name(name) for key, name in value["headline"].items()}),
        floor=_resolve_text(registry.methods, value["floor"]),
        quality=Quality(value["quality"]["metric"], float(value["quality"]["poor"])),
        preset=preset,
        licence=value["licence"],
    )


def in_order(metrics: Iterable[Call]) -> tuple[Call, ...]:
    """Return metrics that take a reference before the others, as results list them: one order, one hash."""
    return tuple(sorted(metrics, key=lambda m: registry.metrics.get(m.name).takes != "reference"))


def _reference_calls(value: dict[str, Any]) -> dict[str, Call]:
    """Return the references as calls by the name they are written with; null ones are gone."""
    return {
        name: Call.make(name, _parameters(given))
        for name, given in value["references"].items()
        if given is not None
    }


def _parameters(given: dict[str, Any]) -> dict[str, Scalar]:
    """Write `until: {reliability: r, max_masks: n}` as the parameters `until: r, masks: n`."""
    plain = {key: value for key, value in given.items() if key != "until"}
    target = _target(given)
    if target is None:
        return plain
    renamed = {"reliability": "until", "max_masks": "masks"}
    return plain | {renamed[key]: value for key, value in target.items()}


def _target(given: dict[str, Any]) -> dict[str, Any] | None:
    until = given.get("until")
    return until if until is None or isinstance(until, dict) else {"reliability": until}


def _plain_name(name: str) -> str:
    """Drop the `distribution:` of a name, as resolved calls do."""
    return name.rpartition(":")[2]
