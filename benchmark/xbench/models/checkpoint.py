"""A checkpoint that was found: its files, its format, the base of an adapter; checked before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError
from xbench.models.checkpoint_files import INDEX, WHOLE, check_settings, combined_revision, shards
from xbench.models.configuration import check_config
from xbench.models.formats.peft_adapter import (
    ADAPTER_CONFIG,
    NOT_BY_TRANSFORMERS,
    WEIGHTS,
    Adapter,
    merged,
    own_adapter,
    read_adapter,
)
from xbench.models.formats.recognised import (
    PEFT,
    TRANSFORMERS,
    Recognised,
    adapter_beside,
    check_files,
    recognise,
    under_adapter,
)
from xbench.models.loading import Location, explained, on_hub


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and whose files were looked at.

    location: on the hub with the commit for a revision, so that all its files are of one commit. local: its files,
    where it lies on this machine. adapter, base: where it is an adapter, what it says and the checkpoint it changes,
    which may lie in the same place.
    """

    location: Location
    local: Recognised | None
    adapter: Adapter | None = None
    base: Checkpoint | None = None

    @property
    def format(self) -> str:
        """One of the names in `xbench.models.formats.recognised`."""
        if self.adapter is not None:
            return PEFT
        return self.local.format if self.local else TRANSFORMERS

    @property
    def weights(self) -> Checkpoint:
        """The checkpoint that holds the weights of the whole network: that under all adapters."""
        return self.base.weights if self.base else self

    @property
    def revision(self) -> str:
        """What it is exactly: its commit on the hub, or a hash of its files and of its base."""
        own = self.local.revision if self.local else str(self.location.revision)
        if self.base is None or self.base.location == self.location:
            return own  # it covers all that lies in its place
        return combined_revision(own, self.base.revision)

    @property
    def base_name(self) -> str:
        """Where the base of an adapter is from, with its revision; empty where there is none."""
        return f"{self.base.location.source}@{self.base.revision}" if self.base else ""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What `from_pretrained` has to be told besides where the weights are."""
        return NOT_BY_TRANSFORMERS if self.adapter else {}

    def with_adapters(self, network: Any, older: Mapping[str, str]) -> Any:
        """Merge the adapters into the network of the base, the innermost first; `older` as in `merged`."""
        if self.base is None or self.adapter is None:
            return network
        base = self.base.with_adapters(network, older)
        return merged(self.location.name, base, self.adapter, older)


def checked(
    location: Location, model_type: str | None, adapters: tuple[Path, ...] = ()
) -> Checkpoint:
    """Refuse a checkpoint by its files and its configuration, before its weights are read or fetched.

    model_type: what the family loads; None where its code, and so its type, comes with the checkpoint. adapters:
    folders of those that it is the base of.
    """
    if location.path is None:
        return _checked_on_hub(location, model_type)
    local = recognise(location.name, location.family, location.path)
    config = location.path / "config.json"
    if local.format == PEFT:
        if (beside := adapter_beside(location.path)) is not None:
            _check_settings(location, config, model_type)
            check_files(location.name, location.path)
            adapter = read_adapter(location.name, beside, beside=True)
            return Checkpoint(location, local, adapter, Checkpoint(location, under_adapter(local)))
        adapter = read_adapter(location.name, location.path)
        adapters += (location.path.resolve(),)
        base = _checked_base(location, adapter, model_type, adapters)
        return Checkpoint(location, local, adapter, base)
    if local.format == TRANSFORMERS:
        _check_settings(location, config, model_type)
        check_files(location.name, location.path)
    return Checkpoint(location, local)


def _checked_on_hub(location: Location, model_type: str | None) -> Checkpoint:
    config = _config_on_hub(location)
    settings = _check_settings(location, config, model_type)
    location = replace(location, revision=config.parent.name)
    if (index := _index_on_hub(location)) is not None:
        shards(location.name, index)
    base = Checkpoint(location, None)
    own = own_adapter(settings)
    if own is None or (folder := _adapter_on_hub(location, own)) is None:
        return base
    return replace(base, adapter=read_adapter(location.name, folder, beside=True), base=base)


def _checked_base(
    location: Location, adapter: Adapter, model_type: str | None, adapters: tuple[Path, ...]
) -> Checkpoint:
    """Find the base of an adapter: a path (also one seen from the adapter's folder), or a checkpoint on the hub."""
    assert adapter.base is not None, "of an adapter beside its base it is known"
    for path in (Path(adapter.base).expanduser(), adapter.folder / adapter.base):
        if path.exists():
            if path.resolve() in adapters:
                raise UsageError(
                    f"model '{location.name}': {ADAPTER_CONFIG} in {adapter.folder} names {adapter.base} as base, "
                    "which is itself, or an adapter to it; name the model that it was trained on"
                )
            return checked(replace(location, path=path), model_type, adapters)
    where = f"model '{location.name}': its base '{adapter.base}'"
    remedy = (
        f"put the base into a folder and name that as base_model_name_or_path in {ADAPTER_CONFIG}"
    )
    try:
        base = on_hub(location.name, location.family, adapter.base)
    except UsageError:
        raise UsageError(f"{where} does not exist on this machine; {remedy}") from None
    try:
        return checked(replace(base, revision=adapter.revision), model_type)
    except EnvironmentProblem:
        raise EnvironmentProblem(
            f"{where} is not on this machine and the hub could not be reached; set HF_HOME to a cache that holds "
            f"it, or {remedy}"
        ) from None


def _check_settings(location: Location, config: Path, model_type: str | None) -> dict[str, Any]:
    settings = _settings(location, config)
    check_config(location, settings, model_type)
    check_settings(location.name, settings)
    return settings


def _config_on_hub(location: Location) -> Path:
    """Return the path of the configuration in the cache of the hub: snapshots/COMMIT/config.json."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    with explained(location):
        try:
            return Path(hf_hub_download(location.target, "config.json", revision=location.revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise UsageError(
                f"model '{location.name}': {location.hub_id} on the hub has no config.json; is it an adapter? "
                f"download it (`hf download {location.hub_id} --local-dir FOLDER`) and use --model "
                f"{location.family}:FOLDER"
            ) from None
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise UsageError(
                f"model '{location.name}': there is no path '{location.hub_id}' on this machine, and the hub shows "
                "no checkpoint of this name and revision (a private one needs `hf auth login`)"
            ) from None


def _index_on_hub(location: Location) -> Path | None:
    """Return the path of the list of weight files; None where the weights are one file, or not there at all."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    with explained(location):
        if isinstance(
            try_to_load_from_cache(location.target, WHOLE, revision=location.revision), str
        ):
            return None
        try:
            return Path(hf_hub_download(location.target, INDEX, revision=location.revision))
        except EntryNotFoundError:
            return None


def _adapter_on_hub(location: Location, own: str) -> Path | None:
    """Return the folder of the cache with the adapter that is on the hub beside its base; None where there is none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    found: list[Path] = []
    with explained(location):
        for name in (ADAPTER_CONFIG, WEIGHTS):
            file = name if own == "." else f"{own}/{name}"
            cached = try_to_load_from_cache(location.target, file, revision=location.revision)
            if cached is not None and not isinstance(cached, str):
                continue  # a sign that the hub, when it could be reached, had no such file
            try:
                path = hf_hub_download(location.target, file, revision=location.revision)
            except LocalEntryNotFoundError:  # whether there is one cannot be told
                raise
            except EntryNotFoundError:  # of lost weights `read_adapter` tells
                continue
            found.append(Path(path))
    return found[0].parent if found else None


def _settings(location: Location, config: Path) -> dict[str, Any]:
    try:
        settings = json.loads(config.read_text("utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it is not an object")
    except ValueError as problem:
        raise UsageError(f"model '{location.name}': config.json is not valid: {problem}") from None
    return settings
