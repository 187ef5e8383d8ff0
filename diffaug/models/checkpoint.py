"""Where a model reference leads, and the digest of what is found there."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
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
    """

    reference: str
    folder: Path
    revision: str | None

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
        files = sorted(
            path
            for path in self.folder.glob("*/*")
            if path.suffix == ".safetensors" or path.name.endswith("config.json")
        )
        total = hashlib.sha256()
        for path in files:
            with path.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{path.relative_to(self.folder).as_posix()} {own}\n".encode())
        return total.hexdigest()


def find_checkpoint(reference: str) -> Checkpoint:
    """Find a model: a shipped name, a local folder, or org/name[@revision] on the hub.

    Raises:
        ConfigError: there is no such model, or it cannot be fetched.
    """
    names = [card.name for card in shipped_cards()]
    if reference in names:
        return _checked(Checkpoint(reference, SHIPPED / reference, None))
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _checked(Checkpoint(str(folder.resolve()), folder.resolve(), None))
    if _HUB_NAME.match(reference) and not reference.startswith("."):
        return _checked(_from_hub(reference))
    raise ConfigError(
        f"no such model: {reference}. It is neither a shipped model ({', '.join(names)}), nor a "
        "local folder, nor org/name[@revision] on the hub"
    )


def _from_hub(reference: str) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = reference.partition("@")
    try:
        folder = Path(
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
    return Checkpoint(name, folder, folder.name)  # a snapshot folder is named by its commit


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    if checkpoint.pipeline and not list(checkpoint.folder.glob("*/*.safetensors")):
        raise ConfigError(
            f"model {checkpoint.reference}: no safetensors weights in it, and diffaug opens no "
            "pickles: save it again with safe_serialization=True"
        )
    return checkpoint
