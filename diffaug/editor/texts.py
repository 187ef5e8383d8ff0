"""Editing texts: some of their tokens are hidden, and predicted back."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.diffusion.masked import Mixing
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.steps import Steps
from diffaug.editor.draft import Draft, Finish, Source, sample_id
from diffaug.editor.editor import Editor
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.models import Checkpoint, load_masked_model
from diffaug.models.masked import MaskedModel
from diffaug.models.pieces import Tokens
from diffaug.recipe import Recipe
from diffaug.recipe.checks import is_pattern
from diffaug.texts.fit import TextFit
from diffaug.texts.medium import Texts
from diffaug.texts.text import Text
from diffaug.texts.windows import passage

__all__ = ["TextEditor"]


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """What the copies of a text share.

    Attributes:
        text: with its tokens.
        tokens: the text's.
        may_change: (N,): which of them may.
        kept: (N,): which of them belong to words that are never changed.
    """

    text: Text
    tokens: Tokens
    may_change: NDArray[np.bool_]
    kept: NDArray[np.bool_]


class TextEditor(Editor):
    """An `Editor` of texts.

    Raises:
        ConfigError: the recipe asks for what the model cannot do.
    """

    medium: Texts
    model: MaskedModel

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        super().__init__(recipe, checkpoint, execution)
        self.model = load_masked_model(checkpoint, execution)
        self.medium = Texts.of(recipe, self.model.pieces)
        if recipe.condition == "label" and not self.model.classes:
            raise ConfigError(f"condition: model {recipe.model} takes no class: use condition=none")
        temperature = 1.0 if recipe.temperature is None else recipe.temperature
        self._mixing = Mixing(
            confident=recipe.sampler == "confident",
            temperature=temperature,
            top_p=1.0 if recipe.top_p is None else recipe.top_p,
        )

    @property
    def device(self) -> torch.device:
        """See `Editor`."""
        return self.model.network.device

    @property
    def classes(self) -> int:
        """See `Editor`."""
        return len(self.model.classes)

    def steps(self) -> Steps[Any, Any]:
        """See `Editor`."""
        return self.model.steps(self.execution.batch_size)

    def _ready(self, source: Source) -> _Ready:
        text = self.medium.counted(source.image)  # a loader has not counted them
        assert text.tokens is not None
        tokens = text.tokens
        most = self.model.room(0 if self.recipe.condition == "label" else None)
        if self.recipe.long_text == "refuse" and len(tokens) > most:
            raise DefectError(
                "too_long",
                f"the text has {len(tokens)} tokens, and the model takes {most}: cut it, or give "
                "long_text=windows",
            )
        kept = self._kept(source, tokens)
        may_change = self.model.pieces.may_change(tokens) & ~kept
        if not may_change.any():
            raise DefectError(
                "nothing_to_change",
                "the text has no word that may change" if len(tokens) else "the text has no words",
            )
        return _Ready(text, tokens, may_change, kept)

    def _kept(self, source: Source, tokens: Tokens) -> NDArray[np.bool_]:
        """Which tokens (N,) belong to words that are never changed."""
        text: str = source.image.text
        if self.recipe.keep is not None:
            patterns = [_pattern(word) for word in self.recipe.keep]
        else:
            patterns = [_whole(word) for word in set((source.label.text or "").split())]
        held = np.zeros(1 + len(text), dtype=np.int64)  # how many letters before each place are
        for pattern in patterns:
            for found in pattern.finditer(text):
                held[1 + found.start() : 1 + found.end()] = 1
        held = held.cumsum()
        kept: NDArray[np.bool_] = held[tokens.spans[:, 1]] > held[tokens.spans[:, 0]]
        return kept

    def _draft(
        self, source: Source, ready: _Ready, copy: int, label: int | None, prompt: str | None
    ) -> Draft:
        digest = source.stored.sha256
        random = SampleRandom(self.recipe.seed, digest, copy)
        strength = self._strength(random)
        edit = passage(
            ready.tokens.ids,
            ready.may_change,
            self.model,
            random,
            self._mixing,
            strength,
            max(1, round(strength * self.recipe.steps)),
            label,
        )
        return Draft(
            edit=edit,
            finish=Finish(source, TextFit(ready.text, self.model.pieces, ready.kept)),
            sample_id=sample_id(self.recipe_digest, source, digest, copy, label, None, None),
            copy=copy,
            strength=strength,
            calls=edit.calls,
            t_start=None,
            log_snr=None,
            prompt=None,
        )


def _pattern(word: str) -> re.Pattern[str]:
    """What a word of `keep` is to be found by."""
    return re.compile(word[1:-1]) if is_pattern(word) else _whole(word)


def _whole(word: str) -> re.Pattern[str]:
    """A word by itself, in whatever case, written as texts are (see `Text`)."""
    written = re.escape(unicodedata.normalize("NFC", word))
    return re.compile(rf"(?<!\w){written}(?!\w)", re.IGNORECASE)
