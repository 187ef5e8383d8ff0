"""Masked diffusion: tokens are hidden, and predicted back some at a time.

Taken to time t, a text has each of its tokens replaced by the mask with probability t (absorbing
diffusion; Sahoo et al. 2024, Nie et al. 2025). A call of the network predicts every hidden token,
and a step commits some of them:

- `random`: each hidden token at a call of its own, drawn beforehand and uniformly. So a token that
  is still hidden at call i of n is committed with probability 1 / (n - i), which is the reverse
  process of the linear schedule. Calls at which no token's turn comes change nothing, and are left
  out.
- `confident`: an equal share at each call, those first whose drawn tokens are likeliest (Chang et
  al. 2022).

A token is drawn by the Gumbel-max trick: that of the largest log p / temperature - log e, with e
from the exponential distribution. Every e is a function of the text's identity, the call and the
token's place, so a result does not depend on neighbours or order.

https://arxiv.org/abs/2406.07524, https://arxiv.org/abs/2502.09992,
https://arxiv.org/abs/2202.04200
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import Batched, side_by_side
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.process import Process
from diffaug.diffusion.transfer import Download, upload

__all__ = ["Masked", "MaskedEdit", "MaskedNetwork", "Mixing", "Passage", "hide", "turns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How tokens are drawn from what a network predicts.

    Attributes:
        confident: commit the likeliest first, instead of each at a turn of its own.
        temperature: of the distribution, at least 0; 0 takes the likeliest token.
        top_p: of the likeliest tokens, those that together have this probability are drawn from
            (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751); 1 is all of them.
    """

    confident: bool = False
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedEdit:
    """A text, or a window of one, on its way into masks and back.

    Attributes:
        tokens: (L,): the text with what a model puts around it, padded to one of the lengths at
            which the network is called.
        attended: (L,): which of them are no padding.
        turns: (L,): the call at which each hidden token is committed, from 0, as `turns` gives
            them; -1: it is not hidden.
        places: (L,): where each token is in the whole text.
        calls: how often the network is called.
        random: of the text and copy.
        mixing: how tokens are drawn.
    """

    tokens: NDArray[np.int64]
    attended: NDArray[np.bool_]
    turns: NDArray[np.int64]
    places: NDArray[np.int64]
    calls: int
    random: SampleRandom
    mixing: Mixing

    @property
    def rows(self) -> int:
        """How many rows of network calls it takes."""
        return self.calls

    @property
    def length(self) -> int:
        """L."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text of any length: windows of it, each token in one or more of them.

    Attributes:
        tokens: (N,): the text.
        windows: those in which tokens are hidden, in order; at least one.
        taken: for each window, which of its tokens the result has, and where in the text.
    """

    tokens: NDArray[np.int64]
    windows: tuple[MaskedEdit, ...]
    taken: tuple[tuple[slice, slice], ...]

    @property
    def calls(self) -> int:
        """How often the network is called for the window that takes most calls."""
        return max(window.calls for window in self.windows)

    @property
    def rows(self) -> int:
        """How many rows of network calls all windows take."""
        return sum(window.rows for window in self.windows)

    def joined(self, results: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """The tokens of the text (N,), from those of its windows, each (L,)."""
        tokens = self.tokens.copy()
        for result, (here, there) in zip(results, self.taken, strict=True):
            tokens[there] = result[here]
        return tokens


def hide(random: SampleRandom, strength: float, may_change: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tokens of a text are hidden at a time: each with that probability, and at least one.

    Args:
        random: of the text and copy.
        strength: the time, in (0, 1].
        may_change: (N,): which tokens may be hidden; at least one.
    """
    drawn = random.hiding(len(may_change))
    hidden: NDArray[np.bool_] = may_change & (drawn < strength)
    if not hidden.any():
        hidden[np.where(may_change, drawn, np.inf).argmin()] = True
    return hidden


def turns(
    random: SampleRandom, hidden: NDArray[np.bool_], calls: int, confident: bool
) -> NDArray[np.int64]:
    """At which call each hidden token is committed (N,), without calls that commit none.

    Args:
        random: of the text and copy.
        hidden: (N,): which tokens are hidden.
        calls: how many calls there may be.
        confident: give the calls only their shares; which tokens have them is decided then.
    """
    found = np.full(len(hidden), -1, dtype=np.int64)
    count = int(hidden.sum())
    if confident:
        calls = min(calls, count)
        found[hidden] = np.arange(count) * calls // count
        return found
    drawn = np.floor(random.turns(len(hidden))[hidden] * calls)
    found[hidden] = np.unique(drawn, return_inverse=True)[1]
    return found


class MaskedNetwork:
    """A masked language model in two parts, so that only what is needed is predicted.

    Args:
        body: from tokens (B, L) and which of them are no padding (B, L) to features (B, L, F).
        head: from features (K, F) to logits over the vocabulary (K, V).
        mask: the token that hides another.
        drawn: (V,): which tokens may be drawn.
        device: where it runs.
    """

    def __init__(
        self,
        body: Callable[[Tensor, Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
        *,
        mask: int,
        drawn: NDArray[np.bool_],
        device: torch.device,
    ) -> None:
        self.body, self.head = body, head
        self.mask, self.device = mask, device
        self.never = np.where(drawn, np.float32(0), np.float32(-np.inf))


class Masked(Process[MaskedEdit]):
    """Texts of one padded length, hidden in part and predicted back.

    Args:
        network: what to run.
        batch_size: how many texts a call has, and how many predictions; part of what makes a
            result what it is, bit for bit.
        length: of all texts.
    """

    def __init__(self, network: MaskedNetwork, batch_size: int, length: int) -> None:
        self._network = network
        self._body = Batched(network.body, batch_size, network.device)
        self._head = Batched(network.head, batch_size, network.device)
        self.lanes = self._body.rows
        self._tokens = np.zeros((self.lanes, length), dtype=np.int64)
        self._attended = np.ones((self.lanes, length), dtype=np.bool_)
        self._turns = np.full((self.lanes, length), -1, dtype=np.int64)
        self._edits: list[MaskedEdit | None] = [None] * self.lanes

    def enter(self, lanes: Sequence[int], edits: Sequence[MaskedEdit]) -> None:
        """Hide tokens of new texts, each in its lane."""
        for lane, edit in zip(lanes, edits, strict=True):
            self._edits[lane] = edit
            self._turns[lane] = edit.turns
            self._attended[lane] = edit.attended
            self._tokens[lane] = np.where(edit.turns < 0, edit.tokens, self._network.mask)

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        """One each."""
        return np.ones(self.lanes, dtype=np.int64)

    @torch.inference_mode()
    def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
        """Call the network for these lanes, and commit the tokens of their calls."""
        device, lanes = self._network.device, np.flatnonzero(stepping)
        hidden = self._tokens[lanes] == self._network.mask
        hidden &= self._turns[lanes] >= 0
        wanted = hidden & (self._turns[lanes] == call[lanes, None])
        for row, lane in enumerate(lanes.tolist()):
            if self._edit(lane).mixing.confident:
                wanted[row] = hidden[row]
        rows, places = np.nonzero(wanted)
        features = self._body(
            upload(self._tokens[lanes], device), upload(self._attended[lanes], device)
        )
        picked = features[upload(rows, device), upload(places, device)]
        logits = self._head(picked).float().cpu().numpy()
        draw = [
            partial(self._draw, one, int(lanes[row]), int(place), int(call[lanes[row]]))
            for one, row, place in zip(logits, rows, places, strict=True)
        ]
        drawn = side_by_side(draw, torch.device("cpu"))
        for row, lane in enumerate(lanes.tolist()):
            own = np.flatnonzero(rows == row)
            self._commit(lane, int(call[lane]), places[own], [drawn[one] for one in own])

    def _edit(self, lane: int) -> MaskedEdit:
        edit = self._edits[lane]
        assert edit is not None
        return edit

    def _draw(
        self, logits: NDArray[np.float32], lane: int, place: int, call: int
    ) -> tuple[int, float]:
        """A token for a hidden place, and how likely it was; the mask, if the model fails."""
        edit = self._edit(lane)
        mixing = edit.mixing
        logits = logits + self._network.never
        most = logits.max()
        if not np.isfinite(most):
            return self._network.mask, 0.0
        scaled = (logits - most) / np.float32(mixing.temperature or 1)
        likely = np.exp(scaled)
        likely /= likely.sum()
        if mixing.temperature == 0:
            token = int(likely.argmax())
            return token, float(likely[token])
        if mixing.top_p < 1:
            falling = np.sort(likely)[::-1]
            enough = int(np.searchsorted(falling.cumsum(), mixing.top_p))
            least = falling[min(enough, len(falling) - 1)]
            scaled = np.where(likely >= least, scaled, np.float32(-np.inf))
        waited = edit.random.waiting(len(logits), call, int(edit.places[place]))
        token = int((scaled - np.log(waited)).argmax())
        return token, float(likely[token])

    def _commit(
        self,
        lane: int,
        call: int,
        places: NDArray[np.int64],
        drawn: Sequence[tuple[int, float]],
    ) -> None:
        share = len(places)
        if self._edit(lane).mixing.confident:
            share = int((self._edit(lane).turns == call).sum())
        order = sorted(range(len(places)), key=lambda one: -drawn[one][1])  # stable
        for one in order[:share]:
            self._tokens[lane, places[one]] = drawn[one][0]
            self._turns[lane, places[one]] = -1

    def result(self, lanes: Sequence[int]) -> Download:
        """The tokens of these lanes (n, L)."""
        return Download(torch.from_numpy(self._tokens[list(lanes)]))
