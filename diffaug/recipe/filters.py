"""Filters decide which images or texts are kept from their scores alone.

So the decision can be reproduced later, from the scores in the manifest.
"""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffaug.manifest.columns import JUDGED, columns_of

__all__ = ["Bound", "Filters", "Ranking", "judge_of", "scores_of"]

_PASSES: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_BOUND = re.compile(r"\s*(?:score_)?(\w+)\s*(<=|>=|==|<|>)\s*(\S+)\s*")
_RANKING = re.compile(r"\s*(-?)\s*(?:score_)?(\w+)\s*")
_ALONE = ("phash", "fluency")
"""The judges that take no reference."""


def judge_of(text: str) -> tuple[str, str | None]:
    """The name and the reference of a judge, from its text in a recipe.

    Raises:
        ValueError: there is no such judge, its reference is missing, or it takes none.
    """
    name, sign, reference = (part.strip() for part in text.partition("="))
    if name not in JUDGED:
        raise ValueError(f"judges: there is no judge {text!r}: {_judges()}")
    if name in _ALONE and sign:
        raise ValueError(f"judges: {name} takes no reference: write {name}")
    if name not in _ALONE and not reference:
        raise ValueError(f"judges: {name} requires a reference: write {name}=REFERENCE")
    return name, reference or None


def _judges() -> str:
    return ", ".join(name if name in _ALONE else f"{name}=REFERENCE" for name in JUDGED)


def scores_of(adding: Iterable[str]) -> list[str]:
    """The score columns of a job in which this adds columns (see `manifest.columns.ADDED`)."""
    return [name for name in columns_of(adding) if name.startswith("score_")]


def _known(field: str, name: str, adding: Iterable[str]) -> str:
    """The column of a score that a judge of the recipe computes, or of SSIM or PSNR, always there.

    Raises:
        ValueError: no judge of the recipe computes it; the message names the judge that does.
    """
    column, there = f"score_{name}", scores_of(adding)
    if column in there:
        return column
    for judge, own in JUDGED.items():
        if column in own:
            missing = judge if judge in _ALONE else f"{judge}=REFERENCE"
            raise ValueError(f"{field}: no judge of the recipe computes {column}: add {missing}")
    every = ", ".join(scores_of((*adding, *JUDGED)))
    raise ValueError(f"{field}: there is no score {column}: the scores are {every}")


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on a score.

    Attributes:
        score: the column.
        sign: <, <=, >, >= or ==.
        value: what the score is compared with.
    """

    score: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str, adding: Iterable[str]) -> Bound:
        """Parse text such as `score_ssim >= 0.4`; the prefix `score_` is optional.

        Args:
            text: the bound.
            adding: what adds scores: the names of judges, `medium` of clips and `text` of texts.

        Raises:
            ValueError: it is not a bound, or no judge computes its score.
        """
        found = _BOUND.fullmatch(text)
        value = math.nan
        if found is not None:
            with contextlib.suppress(ValueError):
                value = float(found[3])
        if found is None or math.isnan(value):
            raise ValueError(
                f"filters: {text!r} is not a bound: write a score, one of < <= > >= == and a "
                "number, such as score_ssim >= 0.4"
            )
        return cls(_known("filters", found[1], adding), found[2], value)

    def passes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's score is within the bound; null never is."""
        score = _score(row, self.score)
        return score is not None and _PASSES[self.sign](score, self.value)

    def refusal(self, row: Mapping[str, Any]) -> str:
        """Why a row does not pass."""
        score = _score(row, self.score)
        if score is None:
            return f"{self.score} is null, which passes no bound ({self})"
        shown = f"{score:.6g}"
        if _PASSES[self.sign](float(shown), self.value):  # rounded, it would pass
            shown = repr(score)
        return f"{self.score} is {shown}, not {self.sign} {_number(self.value)}"

    def __str__(self) -> str:
        return f"{self.score} {self.sign} {_number(self.value)}"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The score that ranks copies, and whether larger or smaller is better.

    Attributes:
        score: the column.
        smaller: whether smaller is better.
    """

    score: str
    smaller: bool

    @classmethod
    def parse(cls, text: str, adding: Iterable[str]) -> Ranking:
        """Parse `score_clip`, or `-score_phash_source` if smaller is better.

        Args:
            text: the score.
            adding: see `Bound.parse`.

        Raises:
            ValueError: it is not a score, or no judge computes it.
        """
        found = _RANKING.fullmatch(text)
        if found is None:
            raise ValueError(
                f"keep_best_by: {text!r} is not a score: write one such as score_ssim, with a "
                "leading - if smaller is better"
            )
        return cls(_known("keep_best_by", found[2], adding), bool(found[1]))

    def best(self, rows: Sequence[Mapping[str, Any]], number: int) -> list[int]:
        """The indices of the best rows, at most `number`; ties go to the first, never to a null."""
        scores = {index: _score(row, self.score) for index, row in enumerate(rows)}
        known = {index: score for index, score in scores.items() if score is not None}
        order = sorted(known, key=lambda index: known[index] if self.smaller else -known[index])
        return order[:number]

    def __str__(self) -> str:
        return f"{'-' if self.smaller else ''}{self.score}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What an image must pass to be kept.

    Attributes:
        bounds: the bounds on every image's scores.
        keep_best: the most copies of a source that are kept, of those within the bounds.
        by: how these are ranked; None if all are kept.
    """

    bounds: tuple[Bound, ...] = ()
    keep_best: int | None = None
    by: Ranking | None = None

    @property
    def compare_copies(self) -> bool:
        """Whether the verdict on a copy depends on the other copies of its source."""
        return self.by is not None

    def verdicts(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """The verdicts on the copies of one source, as columns; empty for a copy that is kept.

        Args:
            rows: the copies that have an image, with their scores, in order.
        """
        found = [self._out_of_bounds(row) for row in rows]
        if self.by is None or self.keep_best is None:
            return found
        within = [index for index, verdict in enumerate(found) if not verdict]
        best = self.by.best([rows[index] for index in within], self.keep_best)
        for index in {*within} - {within[one] for one in best}:
            found[index] = _verdict("not_best", self._not_best(rows[index], self.by))
        return found

    def _out_of_bounds(self, row: Mapping[str, Any]) -> dict[str, str]:
        broken = [bound.refusal(row) for bound in self.bounds if not bound.passes(row)]
        return _verdict("bound", "; ".join(broken)) if broken else {}

    def _not_best(self, row: Mapping[str, Any], by: Ranking) -> str:
        score = _score(row, by.score)
        if score is None:
            return f"{by.score} is null, which is never among the best"
        return (
            f"{by.score} is {score:.6g}, not among the best {self.keep_best} of its source's copies"
        )


def _verdict(code: str, reason: str) -> dict[str, str]:
    return {"status": "filtered", "reason": reason, "reason_code": code}


def _score(row: Mapping[str, Any], name: str) -> float | None:
    score = row.get(name)
    return None if score is None or math.isnan(score) else float(score)


def _number(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
