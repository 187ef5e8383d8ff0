"""The task of training a masked language model on texts."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug import storage
from diffaug.errors import ConfigError, require_extra
from diffaug.execution import Execution
from diffaug.models import Checkpoint, find_checkpoint, write_card
from diffaug.models.families.masked_lm import BodyAndHead, read_parts
from diffaug.models.quiet import quiet
from diffaug.train.data import usable
from diffaug.train.objective import MaskedTokens
from diffaug.train.text_recipe import TextRecipe
from diffaug.train.texts import Texts, lengths_of, words_of
from diffaug.train.tokenizer import make_tokenizer
from diffaug.train.trainer import Trainer

__all__ = ["TextTask"]

_SUGGESTED = {"strength": 0.3, "steps": 20, "sampler": "random"}
_SHOWN = (0.3, 0.6)
"""The strengths of previews."""


class TextTask:
    """See `task.Task`.

    Args:
        recipe: of the training.
        execution: device and dtype.
        tokenizer: of transformers.
        model: to be trained.
        held_back: shards of held-out texts, or None.

    Raises:
        ConfigError: no held-out text is usable.
        OSError: a shard cannot be read.
    """

    def __init__(
        self,
        recipe: TextRecipe,
        execution: Execution,
        tokenizer: Any,
        model: BodyAndHead,
        held_back: list[str] | None = None,
    ) -> None:
        self._recipe, self._tokenizer = recipe, tokenizer
        self._device = torch.device(execution.device)
        self.form = Texts(recipe, tokenizer)
        self.lengths: list[int] = []
        signs = [f"[CLASS{number}]" for number in range(recipe.class_count)]
        self.objective = MaskedTokens(
            mask=tokenizer.mask_token_id,
            padding=tokenizer.pad_token_id,
            never=tuple(tokenizer.all_special_ids),
            classes=tuple(tokenizer.convert_tokens_to_ids(signs)),
            class_dropout=recipe.class_dropout,
        )
        self.trainer: Trainer[BodyAndHead] = Trainer(model, recipe, execution, self.objective)
        self._held_back = list(usable(held_back, self.form)) if held_back else []
        if held_back and not self._held_back:
            raise ConfigError("held_back: no text of it can be used")

    @classmethod
    def new(
        cls,
        recipe: TextRecipe,
        execution: Execution,
        shards: list[str],
        checkpoint: Path | None = None,
        held_back: list[str] | None = None,
    ) -> TextTask:
        """The task of a recipe: with a tokenizer made of its texts, or with that of `init`.

        Args:
            recipe: of the training.
            execution: device and dtype.
            shards: of the texts.
            checkpoint: the folder of a training to resume.
            held_back: shards of held-out texts, or None.

        Raises:
            ConfigError: there is no usable text, or no model to start from.
        """
        require_extra("training on texts", "text", "transformers")
        found = checkpoint and find_checkpoint(str(checkpoint))
        found = found or (find_checkpoint(recipe.init) if recipe.init else None)
        tokenizer, model = _begun(found) if found else _untrained(recipe, shards)
        if checkpoint is None and recipe.init is not None:
            _add_classes(tokenizer, model, recipe)
        task = cls(recipe, execution, tokenizer, BodyAndHead(model), held_back)
        task.lengths = lengths_of(task.form, shards)
        return task

    def inputs(self, x_0: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the network is trained on: the tokens."""
        return x_0

    def begin_with(self, reference: str) -> None:
        """The task began with the weights of `init` when it was made."""

    def measured(self) -> float | None:
        """The loss of the averaged weights on the held-out texts, in nats a token."""
        if not self._held_back:
            return None
        random = torch.Generator().manual_seed(self._recipe.seed)
        count, size = len(self._held_back), self._recipe.batch_size
        times = (torch.randperm(count, generator=random) + 0.5) / count
        total = weight = 0.0
        with torch.inference_mode(), self.trainer.autocast:
            for begin in range(0, count, size):
                part = self._held_back[begin : begin + size]
                x_0 = torch.from_numpy(self.form.together([text for text, _ in part]))
                labels = torch.tensor([label for _, label in part])
                drawn = torch.rand((len(part), x_0.shape[1] + 1), generator=random)
                loss = self.objective.at(
                    self.trainer.ema_model,
                    x_0.to(self._device),
                    labels,
                    times[begin : begin + size],
                    drawn,
                )
                tokens = int((x_0 != self._tokenizer.pad_token_id).sum())
                total, weight = total + float(loss) * tokens, weight + tokens
        return total / weight

    def preview(self, shown: NDArray[np.int64], folder: Path, stem: str) -> None:
        """Write some training texts, and what the model makes of each at two strengths."""
        lines = []
        random = torch.Generator().manual_seed(self._recipe.seed)
        x_0 = torch.from_numpy(shown).to(self._device)
        made = {t: self._filled(x_0, t, random) for t in _SHOWN}
        for number, tokens in enumerate(x_0):
            lines.append(self._written(tokens))
            lines += [f"  {t}: {self._written(texts[number])}" for t, texts in made.items()]
        path = folder / f"reconstructions-{stem}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def save(self, folder: Path, trained: str) -> None:
        """Write the averaged weights and the tokenizer as transformers does."""
        model = copy.deepcopy(self.trainer.ema_model.model).to("cpu")
        with storage.writing(folder), quiet():
            model.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
        text = f"# A masked language model trained by diffaug\n\n{trained}"
        card = {"suggested": _SUGGESTED, "lengths": self.lengths}
        write_card(folder, self._recipe.class_names, None, text, card)

    def _filled(self, x_0: Tensor, t: float, random: torch.Generator) -> Tensor:
        """The likeliest tokens in place of those that are hidden at a time."""
        model, never = self.trainer.ema_model, torch.tensor(self.objective.never)
        drawn = torch.rand(x_0.shape, generator=random).to(self._device)
        hidden = (drawn < t) & ~torch.isin(x_0, never.to(self._device))
        with torch.inference_mode(), self.trainer.autocast:
            features = model.body(
                x_0.masked_fill(hidden, self.objective.mask), x_0 != self.objective.padding
            )
            found = model.head(features[hidden]).argmax(dim=-1)
        return x_0.masked_scatter(hidden, found)

    def _written(self, tokens: Tensor) -> str:
        return str(self._tokenizer.decode(tokens.tolist(), skip_special_tokens=True))


def _untrained(recipe: TextRecipe, shards: list[str]) -> tuple[Any, Any]:
    """A tokenizer made of the texts, and a network with random weights."""
    from transformers import BertConfig, BertForMaskedLM

    texts = words_of(recipe, shards)
    first = list(islice(texts, 1))
    if not first:
        raise ConfigError("no text in the source can be read: check SOURCE and text_key")
    tokenizer = make_tokenizer(words_of(recipe, shards), recipe.pieces, recipe.class_count)
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        config = BertConfig(**recipe.config(len(tokenizer), tokenizer.pad_token_id))
        return tokenizer, BertForMaskedLM(config)


def _begun(checkpoint: Checkpoint) -> tuple[Any, Any]:
    if not checkpoint.is_language_model:
        raise ConfigError(f"init: {checkpoint.reference} is no masked language model")
    return read_parts(checkpoint, torch.float32)


def _add_classes(tokenizer: Any, model: Any, recipe: TextRecipe) -> None:
    """Give a model signs for classes, where it has none."""
    signs = [f"[CLASS{number}]" for number in range(recipe.class_count)]
    if tokenizer.add_special_tokens({"additional_special_tokens": signs}):
        model.resize_token_embeddings(max(len(tokenizer), model.config.vocab_size))
