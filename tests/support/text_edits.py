"""Edits of texts as the lanes take them, and a toy network for them that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.masked import Masked, MaskedEdit, MaskedNetwork, Mixing, hide, turns
from diffaug.diffusion.noise import SampleRandom
from diffaug.execution import Execution
from diffaug.models import find_checkpoint, load_masked_model
from diffaug.models.masked import MaskedModel

__all__ = [
    "MASK",
    "WORDS",
    "constant",
    "edit_of",
    "language_model",
    "random_of",
    "run_alone",
    "toy",
]

WORDS = 23
"""The toy's vocabulary, of which the last word is the mask and the first is never drawn."""

MASK = WORDS - 1


def random_of(number: int, copy: int = 0, seed: int = 0) -> SampleRandom:
    return SampleRandom(seed, f"{number:064x}", copy)


def language_model(folder: Path, batch_size: int = 4, dtype: str = "float32") -> MaskedModel:
    execution = Execution(batch_size=batch_size, dtype=dtype, device="cpu")
    return load_masked_model(find_checkpoint(str(folder)), execution)


def _drawn() -> NDArray[np.bool_]:
    words = np.arange(WORDS)
    drawn: NDArray[np.bool_] = (words > 0) & (words != MASK)
    return drawn


def toy() -> MaskedNetwork:
    """What it predicts depends on all tokens of a text, by whole numbers: exact at any shape."""

    def body(tokens: Tensor, attended: Tensor) -> Tensor:
        known = torch.where(attended & (tokens != MASK), tokens, 0)
        places = torch.arange(tokens.shape[1])
        whole = (known * (places + 1)).sum(dim=1, keepdim=True)
        return (whole + 7 * places).float()[..., None]

    def head(features: Tensor) -> Tensor:
        words = torch.arange(WORDS)
        return ((features * (2 * words + 3)) % 31) / 4

    return MaskedNetwork(body, head, mask=MASK, drawn=_drawn(), device=torch.device("cpu"))


def constant(logits: Sequence[float]) -> MaskedNetwork:
    """It predicts the same for every token; the mask follows the words."""
    row = torch.tensor([*logits, 50.0])  # the mask would be likeliest, but is never drawn
    drawn = np.arange(len(row)) < len(logits)

    def body(tokens: Tensor, attended: Tensor) -> Tensor:
        return torch.zeros((*tokens.shape, 1))

    def head(features: Tensor) -> Tensor:
        return row.expand(len(features), -1)

    return MaskedNetwork(body, head, mask=len(logits), drawn=drawn, device=torch.device("cpu"))


def edit_of(
    number: int,
    length: int = 16,
    calls: int = 4,
    mixing: Mixing | None = None,
    strength: float = 0.7,
) -> MaskedEdit:
    """An edit of drawn words of the toy, three of which are padding."""
    mixing = mixing or Mixing()
    random = random_of(number)
    tokens = np.random.default_rng(number).integers(1, MASK, length)
    attended = np.arange(length) < length - 3
    when = turns(random, hide(random, strength, attended), calls, mixing.confident)
    return MaskedEdit(
        tokens=tokens,
        attended=attended,
        turns=when,
        places=np.arange(length),
        calls=int(when.max()) + 1,
        random=random,
        mixing=mixing,
    )


def run_alone(network: MaskedNetwork, edit: MaskedEdit, batch_size: int = 1) -> NDArray[np.int64]:
    """What an edit becomes in the first lane of a process, with nobody else in it."""
    process = Masked(network, batch_size, edit.length)
    process.enter([0], [edit])
    stepping = np.arange(process.lanes) == 0
    for call in range(edit.calls):
        process.step(stepping, np.where(stepping, call, 0))
    found: NDArray[np.int64] = np.asarray(process.result([0]).numpy()[0], dtype=np.int64)
    return found
