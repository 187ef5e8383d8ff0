"""The TextRecipe: everything that defines the training of a language model, except the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from diffaug.recipe.texts import TextKey, place_of
from diffaug.train.recipe import LoopRecipe, or_none

__all__ = ["OF_TEXTS", "TextRecipe", "is_of_texts"]

OF_TEXTS = ("text_key", "pieces", "length", "width", "layers")
"""Fields that only a training on texts has."""


class TextRecipe(LoopRecipe):
    """How a masked language model is trained; a wrong value raises a `ConfigError`."""

    medium: Literal["text"] = "text"
    text_key: TextKey = Field(
        "txt",
        description="the member that holds a text; json:FIELD is a field of a JSON member",
    )
    pieces: int = Field(
        8192,
        ge=100,
        le=65536,
        description="the most pieces of the tokenizer that is made of the texts; it has fewer "
        "where they hold fewer that come twice",
    )
    length: int = Field(
        128,
        ge=16,
        le=512,
        description="tokens that the model takes; of a longer text so many in a row are trained "
        "on, at a random place and each epoch anew",
    )
    width: int = Field(256, ge=16, le=4096, multiple_of=16, description="features of a token")
    layers: int = Field(4, ge=1, le=48, description="layers of the network")
    init: Annotated[str | None, BeforeValidator(or_none)] = Field(
        None,
        description="a masked language model to start from, with its tokenizer: a transformers "
        "folder, or org/name[@revision] on the hub; none starts from random weights",
    )
    class_dropout: float = Field(
        0.2,
        ge=0,
        le=1,
        description="probability of dropping the label, so that the model works without it, too",
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")

    @property
    def text_member(self) -> str:
        """The member that holds a text."""
        return place_of(self.text_key)[0]

    @property
    def text_field(self) -> str | None:
        """The field of that member, which is JSON; None: it is the text."""
        return place_of(self.text_key)[1]

    def config(self, pieces: int, padding: int) -> dict[str, Any]:
        """Fields of the `BertConfig` to train."""
        return {
            "vocab_size": pieces,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.width // 64),
            "intermediate_size": 4 * self.width,
            "max_position_embeddings": self.length,
            "type_vocab_size": 1,
            "pad_token_id": padding,
        }


def is_of_texts(path: Path) -> bool:
    """Whether a file of a training recipe is of texts, as far as it can be read."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(found, dict) and found.get("medium") == "text"
