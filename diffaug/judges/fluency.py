"""The fluency judge: how likely a masked language model finds what was changed in a text.

The measure is the pseudo-log-likelihood of Salazar et al. 2020: each token is hidden by itself and
predicted from all others. Theirs is a sum over all tokens; this is the mean over those that the
source does not have, so texts of any length and changes of any number compare, and nothing is
spent on tokens that were left as they were. The model is the job's own.

https://arxiv.org/abs/1910.14659
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import Batched
from diffaug.execution import Execution
from diffaug.judges.candidate import Candidate, Scores
from diffaug.models import Checkpoint, load_masked_model
from diffaug.models.masked import MaskedModel
from diffaug.recipe import Recipe
from diffaug.texts.alignment import kept
from diffaug.texts.text import Text
from diffaug.texts.windows import windows_of

__all__ = ["FLUENCY_VERSION", "FluencyJudge", "changed", "load_fluency_judge"]

FLUENCY_VERSION = "fluency-1"
"""Changes whenever the score of any text does; the model has a digest of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class _Hidden:
    """A text, or a window of one, with one token hidden.

    Attributes:
        who: the candidate, and which of its changed tokens this is.
        tokens: (n,): with what the model puts around them.
        place: of the hidden token among them.
        wanted: what it is.
    """

    who: tuple[int, int]
    tokens: NDArray[np.int64]
    place: int
    wanted: int


class FluencyJudge:
    """The mean log-probability, in nats a token, of a result's changed tokens.

    Args:
        model: predicts them.
        batch_size: of every call.
        conditioned: whether the model is told a text's class.
    """

    def __init__(self, model: MaskedModel, batch_size: int, conditioned: bool) -> None:
        self._model, self._conditioned = model, conditioned
        self._batched = Batched(self._predicted, batch_size, model.network.device)
        self.rows = self._batched.rows

    @torch.inference_mode()
    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The score of each; None where no token differs from the source."""
        found: list[list[float]] = []
        waiting = defaultdict[int, list[_Hidden]](list)
        for one in candidates:
            hidden = list(self._hidden(len(found), one))
            found.append([0.0] * len(hidden))
            for row in hidden:
                length = self._model.padded(len(row.tokens))
                waiting[length].append(row)
                if len(waiting[length]) == self.rows:
                    self._predict(waiting.pop(length), length, found)
        for length, rows in waiting.items():
            self._predict(rows, length, found)
        means = [float(np.mean(own)) if own else None for own in found]
        return [
            {"score_fluency": None if mean is None or not np.isfinite(mean) else mean}
            for mean in means
        ]

    def _hidden(self, number: int, candidate: Candidate) -> Iterator[_Hidden]:
        """Each changed token of a result, hidden; of a long text in the window that it is taken
        from."""
        model = self._model
        ids = self._tokens(candidate.output)
        label = candidate.label if self._conditioned else None
        before, behind = model.around(label)
        places = changed(self._tokens(candidate.source), ids)
        if not places:
            return
        windows = iter(windows_of(len(ids), model.room(label)))
        begin, end, _, last = next(windows)
        for which, place in enumerate(places):
            while place >= last:
                begin, end, _, last = next(windows)
            tokens = np.array([*before, *ids[begin:end], *behind], dtype=np.int64)
            at = len(before) + place - begin
            tokens[at] = model.network.mask
            yield _Hidden((number, which), tokens, at, int(ids[place]))

    def _tokens(self, x: Text) -> NDArray[np.int64]:
        return (self._model.pieces.tokens(x.text) if x.tokens is None else x.tokens).ids

    def _predict(self, rows: Sequence[_Hidden], length: int, found: list[list[float]]) -> None:
        """Put the log-probability of each hidden token where it belongs."""
        tokens = np.full((len(rows), length), self._model.padding, dtype=np.int64)
        attended = np.zeros((len(rows), length), dtype=np.bool_)
        for row, one in enumerate(rows):
            tokens[row, : len(one.tokens)], attended[row, : len(one.tokens)] = one.tokens, True
        places = np.array([one.place for one in rows])
        wanted = np.array([one.wanted for one in rows])
        device = self._model.network.device
        inputs = (torch.from_numpy(one).to(device) for one in (tokens, attended, places, wanted))
        outputs = self._batched(*inputs)[:, 0].double().cpu().tolist()
        for one, output in zip(rows, outputs, strict=True):
            number, which = one.who
            found[number][which] = output

    def _predicted(
        self, tokens: Tensor, attended: Tensor, places: Tensor, wanted: Tensor
    ) -> Tensor:
        """The log-probability (B, 1) of what each row (B, L) wants at one place."""
        network = self._model.network
        features = network.body(tokens, attended)
        picked = features[torch.arange(len(tokens), device=tokens.device), places]
        return network.head(picked).float().log_softmax(-1).gather(1, wanted[:, None])


def changed(source: NDArray[np.int64], result: NDArray[np.int64]) -> list[int]:
    """The places of a result's tokens that differ from the source (see `texts.alignment`)."""
    same = {place for _, place in kept(source.tolist(), result.tolist())}
    return [place for place in range(len(result)) if place not in same]


def load_fluency_judge(
    recipe: Recipe, checkpoint: Checkpoint, execution: Execution
) -> FluencyJudge:
    """The judge of a job: its model is loaded already.

    Raises:
        ConfigError: the model is no masked language model.
    """
    model = load_masked_model(checkpoint, execution)
    return FluencyJudge(model, execution.batch_size, recipe.condition == "label")
