"""A checkpoint that was found: its files, its format, the base of an adapter; checked before any weight is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xbench.errors import EnvironmentProblem, UsageError
from xbench.models.checkpoint_files import INDEX, WHOLE, check_settings, combined_revision, shards
from xbench.models.configuration import check_config
from xbench.models.formats.peft_adapter import ADAPTER_CONFIG, Adapter, merged, read_adapter
from xbench.models.formats.recognised import (
    PEFT,
    TRANSFORMERS,
    Recognised,
    check_files,
    recognise,
)
from xbench.models.loading import Location, explained, on_hub


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and whose files were looked at.

    location: on the hub with the commit for a revision, so that all its files are of one commit. local: its files,
    where it lies on this machine. adapter, base: where it is an adapter, what it says and the checkpoint it changes.
    """

    location: Location
    local: Recognised | None
    adapter: Adapter | None = None
    base: Checkpoint | None = None

    @property
    def format(self) -> str:
        """One of the names in `xbench.models.formats.recognised`."""
        return self.local.format if self.local else TRANSFORMERS

    @property
    def weights(self) -> Checkpoint:
        """The checkpoint that holds the weights of the whole network: that under all adapters."""
        return self.base.weights if self.base else self

    @property
    def revision(self) -> str:
        """What it is exactly: its commit on the hub, or a hash of its files and of its base."""
        own = self.local.revision if self.local else str(self.location.revision)
        return combined_revision(own, self.base.revision) if self.base else own

    @property
    def base_name(self) -> str:
        """Where the base of an adapter is from, with its revision; empty where there is none."""
        return f"{self.base.location.source}@{self.base.revision}" if self.base else ""

    def with_adapters(self, network: Any) -> Any:
        """Merge the adapters into the network of the base, the innermost first."""
        if self.base is None or self.adapter is None:
            return network
        return merged(self.location.name, self.base.with_adapters(network), self.adapter)


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
    if local.format == PEFT:
        adapter = read_adapter(location.name, location.path)
        adapters += (location.path.resolve(),)
        base = _checked_base(location, adapter, model_type, adapters)
        return Checkpoint(location, local, adapter, base)
    if local.format == TRANSFORMERS:
        _check_settings(location, location.path / "config.json", model_type)
        check_files(location.name, location.path)
    return Checkpoint(location, local)


def _checked_on_hub(location: Location, model_type: str | None) -> Checkpoint:
    config = _config_on_hub(location)
    _check_settings(location, config, model_type)
    location = replace(location, revision=config.parent.name)
    if (index := _index_on_hub(location)) is not None:
        shards(location.name, index)
    return Checkpoint(location, None)


def _checked_base(
    location: Location, adapter: Adapter, model_type: str | None, adapters: tuple[Path, ...]
) -> Checkpoint:
    """Find the base of an adapter: a path (also one seen from the adapter's folder), or a checkpoint on the hub."""
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


def _check_settings(location: Location, config: Path, model_type: str | None) -> None:
    settings = _settings(location, config)
    check_config(location, settings, model_type)
    check_settings(location.name, settings)


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


def _settings(location: Location, config: Path) -> dict[str, Any]:
    try:
        settings = json.loads(config.read_text("utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it is not an object")
    except ValueError as problem:
        raise UsageError(f"model '{location.name}': config.json is not valid: {problem}") from None
    return settings
