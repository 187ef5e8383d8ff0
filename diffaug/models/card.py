"""Model cards: the `diffaug` section in the front matter of a checkpoint's README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Card", "read_card", "shipped_cards", "write_card"]

SHIPPED = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a model.

    Attributes:
        name: what `--model` takes.
        licence: SPDX-like identifier of the weights' licence.
        size: native size and colour.
        classes: names of its classes, in order; empty when it takes none.
        null_class: the class that means "no class"; None when it has none.
        suggested: strengths, steps and sampler to begin with.
    """

    name: str
    licence: str
    size: str
    classes: tuple[str, ...]
    null_class: int | None
    suggested: dict[str, Any]


def read_card(folder: Path) -> Card | None:
    """The card of a checkpoint folder; None when its README has no `diffaug` section."""
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
    return Card(
        name=fields.get("name", folder.name),
        licence=front.get("license", "unknown"),
        size=fields.get("size", ""),
        classes=tuple(fields.get("classes", ())),
        null_class=fields.get("null_class"),
        suggested=fields.get("suggested", {}),
    )


def write_card(folder: Path, classes: Sequence[str], null_class: int | None, text: str) -> None:
    """Write a new checkpoint's README.md: what diffaug reads of it, then `text` for people."""
    fields = {"classes": list(classes), "null_class": null_class}
    front = yaml.safe_dump({"library_name": "diffusers", "diffaug": fields}, sort_keys=False)
    (folder / "README.md").write_text(f"---\n{front}---\n\n{text}", encoding="utf-8")


def shipped_cards() -> list[Card]:
    """The cards of the models in the package, by name."""
    cards = (read_card(path.parent) for path in sorted(SHIPPED.glob("*/model_index.json")))
    return [card for card in cards if card is not None]
