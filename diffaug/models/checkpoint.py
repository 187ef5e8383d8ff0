"""Where a model reference leads, and the digest of what is found there."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

from diffaug.errors import ConfigError
from diffaug.models.card import SHIPPED, Card, read_card, shipped_cards

__all__ = ["Checkpoint", "find_checkpoint"]

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")


@dataclass(frozen=True)
class Checkpoint:
    """A diffusers-format folder on this machine.

    Attributes:
        reference: what the user wrote.
        folder: where it lies.
        revision: the hub's commit; None for shipped and local models.
        files: (name, size, time of change) of each weight and configuration file, so that a
            checkpoint written anew is another one.
    """

    reference: str
    folder: Path
    revision: str | None
    files: tuple[tuple[str, int, int], ...]

    @cached_property
    def pipeline(self) -> str:
        """The diffusers pipeline class named by `model_index.json`."""
        try:
            index = json.loads((self.folder / "model_index.json").read_text(encoding="utf-8"))
            return str(index["_class_name"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"model {self.reference}: {self.folder} has no readable model_index.json: "
                "give a folder written by a diffusers pipeline's save_pretrained"
            ) from None

    @cached_property
    def card(self) -> Card | None:
        """The model's card, if its README has one."""
        return read_card(self.folder)

    @cached_property
    def digest(self) -> str:
        """sha256 in hex over the weights and the configurations that give them meaning."""
        total = hashlib.sha256()
        for name, *_ in self.files:
            with (self.folder / name).open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{name} {own}\n".encode())
        return total.hexdigest()


def find_checkpoint(reference: str) -> Checkpoint:
    """Find a model: a shipped name, a local folder, or org/name[@revision] on the hub.

    Raises:
        ConfigError: there is no such model, or it cannot be fetched.
    """
    if re.fullmatch(r"[\w.-]+", reference) and (SHIPPED / reference / "model_index.json").is_file():
        return _checkpoint(reference, SHIPPED / reference)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _checkpoint(str(folder.resolve()), folder.resolve())
    if _HUB_NAME.match(reference) and not reference.startswith("."):
        folder = _from_hub(reference)
        # a snapshot folder is named by its commit
        return _checkpoint(reference.partition("@")[0], folder, revision=folder.name)
    names = [card.name for card in shipped_cards()]
    raise ConfigError(
        f"no such model: {reference}. It is neither a shipped model ({', '.join(names)}), nor a "
        "local folder, nor org/name[@revision] on the hub"
    )


@cache
def _from_hub(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = reference.partition("@")
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=["*.safetensors", "*.json", "README.md"],
            )
        )
    except (LocalEntryNotFoundError, ConnectionError):
        raise ConfigError(
            f"model {reference}: there is no such folder here, the hub cannot be reached and the "
            "model is not in its local cache: check the name or the network, or give a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"model {reference}: the hub refused it: {first_line}") from None


def _checkpoint(reference: str, folder: Path, revision: str | None = None) -> Checkpoint:
    files = []
    for path in sorted(folder.glob("*/*")):
        if path.suffix == ".safetensors" or path.name.endswith("config.json"):
            found = path.stat()
            name = path.relative_to(folder).as_posix()
            files.append((name, found.st_size, found.st_mtime_ns))
    checkpoint = _same(Checkpoint(reference, folder, revision, tuple(files)))
    if checkpoint.pipeline and not any(name.endswith(".safetensors") for name, *_ in files):
        raise ConfigError(
            f"model {reference}: no safetensors weights in it, and diffaug opens no pickles: save "
            "it again with safe_serialization=True"
        )
    return checkpoint


@lru_cache(maxsize=8)
def _same(checkpoint: Checkpoint) -> Checkpoint:
    """The one equal to this that was met first, so that its digest is computed but once."""
    return checkpoint
