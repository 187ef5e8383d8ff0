"""Model cards: a checkpoint's is its README.md's front matter; public models' are a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from diffaug.errors import ConfigError
from diffaug.models.layout import read_index

__all__ = [
    "SHIPPED",
    "Card",
    "Taught",
    "is_shipped",
    "known_cards",
    "read_card",
    "shipped_cards",
    "write_card",
]

_HERE = Path(__file__).parent
SHIPPED = _HERE / "shipped"


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What a student was distilled to.

    Attributes:
        teacher: what its teacher was called.
        times: at which it is called, and at no others, rising.
        guidance: the teacher's guidance scale, which it has with a class; 1: none.
    """

    teacher: str
    times: tuple[int, ...]
    guidance: float

    @classmethod
    def of(cls, fields: Any) -> Taught | None:
        """As a card states it; None if it states nothing of the kind.

        Raises:
            ConfigError: the fields are not what they must be.
        """
        if not fields:
            return None
        try:
            times = fields["times"]
            if isinstance(times, str):
                low, high = map(int, times.split(":"))
                times = range(low, high + 1)
            found = tuple(sorted(map(int, times)))
            guidance = float(fields.get("guidance", 1))
            if not found or found[0] < 0 or not 0 <= guidance <= 100:
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigError(
                "a card's taught must have times, a list of them or lo:hi, and guidance, got "
                f"{fields!r}"
            ) from None
        return cls(teacher=str(fields.get("teacher", "")), times=found, guidance=guidance)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known about a model.

    Attributes:
        name: what `--model` takes.
        licence: SPDX-like identifier of the weights' licence.
        size: native size and colour.
        classes: names of its classes, in order; empty if it takes no class.
        null_class: the class that means "no class"; None if there is no such class.
        suggested: a recipe's fields to begin with; `with_suggestions` uses strength, steps and
            sampler.
        family: the diffusers pipeline class; empty if the folder names none.
        class_count: how many classes condition it, whether or not their names are known.
        revision: the commit on the hub; None for checkpoints, and if it is not known.
        gated: whether the hub requires an accepted licence and a token.
        saw: what it was trained on, in the words of `diffaug evaluate --model-saw`.
        labels: how many labels of its classes it was trained on; 0 if that is not known.
        run_here: whether diffaug's authors have run it.
        note: what to know before downloading it.
        evaluated: the verdict of the evaluations made of it, such as `no evidence`; empty if there
            was none.
        taught: what it was distilled to; None if it was not.
        frames: how many frames a clip has that it takes as one sample, their channels behind one
            another; None if it takes pictures.
        lengths: of a language model, how many tokens the texts had that it was trained on: so many
            quantiles, rising; empty if that is not known.
    """

    name: str
    licence: str
    size: str
    classes: tuple[str, ...]
    null_class: int | None
    suggested: dict[str, Any]
    family: str = ""
    class_count: int = 0
    revision: str | None = None
    gated: bool = False
    saw: str = "unknown"
    labels: int = 0
    run_here: bool = False
    note: str = ""
    evaluated: str = ""
    taught: Taught | None = None
    frames: int | None = None
    lengths: tuple[int, ...] = ()


def read_card(folder: Path) -> Card | None:
    """The card of a checkpoint folder; None if its README has no `diffaug` section."""
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    text = readme.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n"):
        return None
    try:
        front = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return None
    if not isinstance(front, dict) or not isinstance(front.get("diffaug"), dict):
        return None
    fields = front["diffaug"]
    classes, labels = tuple(fields.get("classes", ())), fields.get("labels")
    return Card(
        name=fields.get("name", folder.name),
        licence=front.get("license", "unknown"),
        size=fields.get("size", ""),
        classes=classes,
        class_count=len(classes),
        null_class=fields.get("null_class"),
        suggested=fields.get("suggested") or {},
        family=_family(folder),
        saw=fields.get("saw", "unknown"),
        labels=labels if isinstance(labels, int) else 0,
        evaluated=fields.get("evaluated", ""),
        taught=Taught.of(fields.get("taught")),
        frames=_frames(fields.get("frames")),
        lengths=tuple(map(int, fields.get("lengths", ()))),
        run_here=folder.parent == SHIPPED,
    )


def _frames(given: Any) -> int | None:
    if given is None or (isinstance(given, int) and given > 0):
        return given
    raise ConfigError(f"a card's frames must be a number, at least 1, got {given!r}")


def _family(folder: Path) -> str:
    try:
        return str(read_index(str(folder), folder)["_class_name"])
    except ConfigError:  # loading the model reports this; reading its card need not
        return ""


def write_card(
    folder: Path,
    classes: Sequence[str],
    null_class: int | None,
    text: str,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write a new checkpoint's README.md: the fields that diffaug reads, then `text` for people.

    Args:
        folder: the checkpoint.
        classes: names of its classes.
        null_class: the class that means "no class".
        text: in Markdown.
        more: further fields, such as `suggested`.
    """
    fields = {"classes": list(classes), "null_class": null_class, **more}
    front = yaml.safe_dump({"library_name": "diffusers", "diffaug": fields}, sort_keys=False)
    (folder / "README.md").write_text(f"---\n{front}---\n\n{text}", encoding="utf-8")


def is_shipped(reference: str) -> bool:
    """Whether a reference names a model that diffaug ships."""
    named = re.fullmatch(r"[\w.-]+", reference)
    return named is not None and (SHIPPED / reference / "model_index.json").is_file()


def shipped_cards() -> list[Card]:
    """The cards of the models in the package, by name."""
    cards = (read_card(path.parent) for path in sorted(SHIPPED.glob("*/model_index.json")))
    return [card for card in cards if card is not None]


def known_cards() -> list[Card]:
    """The cards of public models on the hub, by family, as their publishers describe them."""
    entries = yaml.safe_load((_HERE / "known.yaml").read_text(encoding="utf-8"))
    return [
        Card(class_count=entry.pop("classes"), classes=(), null_class=None, **entry)
        for entry in entries
    ]
