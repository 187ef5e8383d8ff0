"""Finding the checkpoint that a model reference names, and digesting its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from diffaug.errors import ConfigError
from diffaug.models import hub
from diffaug.models.addons import autoencoder_files, find_autoencoder, find_embedding, find_lora
from diffaug.models.card import SHIPPED, Card, is_shipped, read_card, shipped_cards
from diffaug.models.layout import (
    LANGUAGE_MODEL,
    check_file,
    check_parts,
    contents,
    is_flat,
    read_index,
)
from diffaug.storage import local_path

__all__ = ["OF_CLIPS", "Addons", "Checkpoint", "find_checkpoint"]

OF_CLIPS = dict.fromkeys(("AnimateDiffPipeline", "AnimateDiffVideoToVideoPipeline"), 16)
"""Pipelines of video, and how many frames the public ones learned from."""


@dataclass(frozen=True)
class Addons:
    """A model's add-ons.

    Attributes:
        lora: a safetensors file, a folder that holds one, or org/name[@revision] on the hub.
        autoencoder: a diffusers autoencoder that replaces the model's own: a local folder or
            org/name[@revision], with its config.json at the top or in vae/.
        embeddings: textual inversions, each given as a LoRA is.
        lora_scale: the weight of the LoRA.
    """

    lora: str | None = None
    autoencoder: str | None = None
    embeddings: tuple[str, ...] = ()
    lora_scale: float = 1.0


@dataclass(frozen=True)
class Checkpoint:
    """A folder on this machine, in the format of diffusers, or for texts of transformers.

    Attributes:
        reference: what the user wrote.
        folder: where it lies.
        revision: the hub's commit; None for shipped and local models.
        files: (name, size, modification time) of each file that affects its images, so that an
            overwritten checkpoint counts as a different one.
        lora: the LoRA's safetensors file.
        autoencoder: the folder of the autoencoder that replaces its own.
        embeddings: the textual inversions' safetensors files.
        lora_scale: the weight of the LoRA; the digest does not cover it.
    """

    reference: str
    folder: Path
    revision: str | None
    files: tuple[tuple[str, int, int], ...]
    lora: Path | None = None
    autoencoder: Path | None = None
    embeddings: tuple[Path, ...] = ()
    lora_scale: float = 1.0

    @cached_property
    def index(self) -> dict[str, Any]:
        """The contents of `model_index.json`: the pipeline's class, and the class of each part."""
        return read_index(self.reference, self.folder)

    @cached_property
    def pipeline(self) -> str:
        """The diffusers pipeline class that `model_index.json` names."""
        return str(self.index["_class_name"])

    @cached_property
    def card(self) -> Card | None:
        """The model's card, if its README has one."""
        return read_card(self.folder)

    @property
    def frames(self) -> int | None:
        """How many frames of a clip the model takes; None: it takes pictures.

        A card says so; without one, models of video take as many as the public ones learned from.
        """
        usual = OF_CLIPS.get(self.pipeline)
        return (self.card.frames if self.card else None) or usual

    @property
    def is_language_model(self) -> bool:
        """Whether it is a masked language model of transformers, which edits texts."""
        return self.pipeline == LANGUAGE_MODEL

    def part(self, name: str) -> Path:
        """The folder of a component: its own, or in the oldest pipelines the model's folder."""
        return self.folder if is_flat(self.folder, self.index) else self.folder / name

    @cached_property
    def digest(self) -> str:
        """sha256, in hex, of the weights and the configurations that affect images.

        Add-ons enter by their content and their kind, not by where they lie; so does what a student
        was taught, which is on its card, and how many frames a model of video is given.
        """
        total = hashlib.sha256()
        added = _added(self.lora, self.autoencoder, self.embeddings)
        for name, *_ in self.files:
            with added.get(name, self.folder / name).open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{name} {own}\n".encode())
        options = _options(self.index)
        if options:
            total.update(f"options {json.dumps(options, sort_keys=True)}\n".encode())
        if self.card is not None and (taught := self.card.taught) is not None:
            decides = (taught.times, taught.guidance)
            total.update(f"taught {decides}\n".encode())
        if self.pipeline in OF_CLIPS:
            total.update(f"frames {self.frames}\n".encode())
        return total.hexdigest()


def find_checkpoint(reference: str, addons: Addons | None = None) -> Checkpoint:
    """Find a model: a shipped name, a local folder, or org/name[@revision] on the hub.

    Raises:
        ConfigError: there is no such model or add-on, or it cannot be fetched or is incomplete.
    """
    addons = addons or Addons()
    if is_shipped(reference):
        return _checkpoint(reference, SHIPPED / reference, None, addons)
    folder = local_path(reference)
    if folder.is_dir():
        return _checkpoint(str(folder.resolve()), folder.resolve(), None, addons)
    if hub.is_hub_name(reference):
        folder = hub.fetch_pipeline(reference)
        # a snapshot folder is named by its commit
        return _checkpoint(reference.partition("@")[0], folder, folder.name, addons)
    names = [card.name for card in shipped_cards()]
    raise ConfigError(
        f"no such model: {reference}. It is neither a shipped model ({', '.join(names)}), nor a "
        "local folder, nor org/name[@revision] on the hub"
    )


def _checkpoint(reference: str, folder: Path, revision: str | None, addons: Addons) -> Checkpoint:
    index = read_index(reference, folder)
    lora = find_lora(addons.lora) if addons.lora else None
    autoencoder = find_autoencoder(addons.autoencoder) if addons.autoencoder else None
    embeddings = tuple(find_embedding(embedding) for embedding in addons.embeddings)
    paths = {name: folder / name for name in contents(folder, index)}
    paths |= _added(lora, autoencoder, embeddings)
    files = tuple(_stamp(name, path) for name, path in paths.items())
    found = Checkpoint(
        reference, folder, revision, files, lora, autoencoder, embeddings, addons.lora_scale
    )
    return _same(found)


def _added(
    lora: Path | None, autoencoder: Path | None, embeddings: tuple[Path, ...]
) -> Mapping[str, Path]:
    """The add-ons' files by kind, with names that begin with a plus, as no file of a model does."""
    paths = {"+lora": lora} if lora else {}
    if autoencoder:
        paths |= {f"+autoencoder/{path.name}": path for path in autoencoder_files(autoencoder)}
    return paths | {f"+embedding/{i}": path for i, path in enumerate(embeddings)}


def _stamp(name: str, path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return name, found.st_size, found.st_mtime_ns


def _options(index: dict[str, Any]) -> dict[str, Any]:
    """The pipeline's own settings that change images, such as force_zeros_for_empty_prompt."""
    return {
        name: value
        for name, value in index.items()
        if isinstance(value, (bool, int, float, str))
        and not name.startswith("_")
        and name != "requires_safety_checker"
    }


@lru_cache(maxsize=8)
def _same(checkpoint: Checkpoint) -> Checkpoint:
    """The first checkpoint equal to this one, so that it is checked and digested only once."""
    reference, revision = checkpoint.reference, checkpoint.revision

    def elsewhere() -> list[str]:
        return hub.file_names(f"{reference}@{revision}") if revision else []

    check_parts(reference, checkpoint.folder, checkpoint.index, elsewhere)
    for name, *_ in checkpoint.files:
        if not name.startswith("+"):  # add-ons are checked where they are found
            check_file("model", reference, checkpoint.folder / name)
    return checkpoint
