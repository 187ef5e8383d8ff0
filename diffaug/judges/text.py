"""A network over texts, always called at one batch shape for texts of one padded length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import Batched
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.families.masked_lm import longest
from diffaug.models.masked import LENGTHS
from diffaug.models.pieces import signs_around
from diffaug.models.quiet import quiet
from diffaug.texts.text import Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Bodies", "TextNetwork", "text_network"]

Bodies = Callable[[Tensor, Tensor], Tensor]
"""From tokens (B, L), and which of them are attended to (B, L), to rows (B, K)."""


class TextNetwork:
    """A network that takes any number of texts; each gets the result it would get alone.

    A text longer than the network takes is read in pieces of about equal length, and the result is
    the mean of theirs, weighted by their numbers of tokens.

    Args:
        tokenizer: of the network, without truncation or padding of its own.
        network: each row of its output depends on that row of its input alone.
        around: the tokens that stand before and behind every text.
        lengths: at which the network is called, in tokens, rising.
        padding: the token that fills a call.
        batch_size: B of every call.
        device: where the network runs.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        network: Bodies,
        *,
        around: tuple[tuple[int, ...], tuple[int, ...]],
        lengths: Sequence[int],
        padding: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._tokenizer = tokenizer
        self._before, self._behind = around
        self._lengths, self._padding, self._device = lengths, padding, device
        self._batched = Batched(network, batch_size, device)

    @property
    def rows(self) -> int:
        """How many texts keep the device busy."""
        return self._batched.rows

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Text]) -> list[NDArray[np.float64]]:
        """The network's output for each text, (K,)."""
        alike = defaultdict[int, list[tuple[int, list[int]]]](list)
        pieces = [self._pieces(one.text) for one in texts]
        found: list[list[NDArray[np.float64]]] = [[np.empty(0)] * len(own) for own in pieces]
        each = [(place, part) for place, own in enumerate(pieces) for part in range(len(own))]
        for number, (place, part) in enumerate(each):
            own = [*self._before, *pieces[place][part], *self._behind]
            alike[self._length(len(own))].append((number, own))
        for length, several in alike.items():
            tokens = np.full((len(several), length), self._padding, dtype=np.int64)
            attended = np.zeros((len(several), length), dtype=np.int64)
            for row, (_, own) in enumerate(several):
                tokens[row, : len(own)], attended[row, : len(own)] = own, 1
            inputs = (torch.from_numpy(one).to(self._device) for one in (tokens, attended))
            outputs = self._batched(*inputs).double().cpu().numpy()
            for (number, _), output in zip(several, outputs, strict=True):
                place, part = each[number]
                found[place][part] = output
        return [
            np.average(outputs, axis=0, weights=[max(1, len(part)) for part in own])
            for outputs, own in zip(found, pieces, strict=True)
        ]

    def _pieces(self, text: str) -> list[list[int]]:
        """The tokens of a text, in as few pieces as the network takes."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        most = self._lengths[-1] - len(self._before) - len(self._behind) - 1
        return [one.tolist() for one in np.array_split(tokens, max(1, -(-len(tokens) // most)))]

    def _length(self, count: int) -> int:
        """Where so many tokens are padded to, by at least one token.

        transformers leaves the mask out where no row of a call is padded, and a kernel without one
        may sum in another order; whether it does would depend on a text's neighbours.
        """
        return next(one for one in self._lengths if one > count)


def text_network(
    judge: str,
    reference: str,
    folder: Path,
    model: Any,
    network: Bodies,
    execution: Execution,
    most: int | None = None,
) -> TextNetwork:
    """A loaded network with the tokenizer of its folder.

    Args:
        judge: its name.
        reference: as the recipe has it.
        folder: where the tokenizer is.
        model: the network of transformers.
        network: what of it is called.
        execution: batch size and device.
        most: tokens that it takes, if its folder says that these are fewer than it could.

    Raises:
        ConfigError: the folder has no tokenizer that can be read.
    """
    tokenizer = _tokenizer(judge, reference, folder)
    where = f"judges: {judge}={reference}"
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"{where}: its tokenizer has {len(tokenizer):,} tokens, and the network {rows:,}"
        )
    takes = min(longest(model, tokenizer), most or LENGTHS[-1])
    padding = tokenizer.pad_token_id
    own = tokenizer.backend_tokenizer
    own.no_truncation()
    own.no_padding()
    return TextNetwork(
        own,
        network,
        around=signs_around(own, where),
        lengths=tuple(one for one in LENGTHS if one <= takes) or (takes,),
        padding=getattr(model.config, "pad_token_id", None) or 0 if padding is None else padding,
        batch_size=execution.batch_size,
        device=torch.device(execution.device),
    )


def _tokenizer(judge: str, reference: str, folder: Path) -> Any:
    where = f"judges: {judge}={reference}"
    if not (folder / "tokenizer.json").is_file():
        raise ConfigError(
            f"{where}: {folder} has no tokenizer.json, which texts are read by: save its tokenizer "
            "there with save_pretrained"
        )
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers raises nearly anything on what it cannot read
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{where}: its tokenizer cannot be loaded: {reason}") from error
