"""Which rows of a manifest are wanted: pandas' own query syntax, of which nothing can be run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from diffaug.errors import ConfigError

__all__ = ["Query"]

_ALLOWED = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.BinOp, ast.BitAnd, ast.BitOr, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod),
)
"""No call, no attribute, no index: what pandas is given can compare and count, and that is all."""

_LIKE = (
    'write a condition over the manifest\'s columns, such as status == "ok" and score_ssim > 0.4'
)


@dataclass(frozen=True)
class Query:
    """A condition over the manifest's columns.

    Where it does not name `status`, only rows that are `ok` are wanted; where it does, it alone
    decides.

    Args:
        where: what pandas' `DataFrame.query` takes, made of columns, literals, comparisons, `in`,
            arithmetic, `and`, `or` and `not`; None for no further condition.

    Raises:
        ConfigError: it is anything else.
    """

    where: str | None = None

    def __post_init__(self) -> None:
        if self.where is not None and not self._names():
            raise ConfigError(f"where: {self.where!r} names no column: {_LIKE}")

    @property
    def columns(self) -> frozenset[str]:
        """The columns that `select` needs."""
        return self._names() | {"status"}

    def check(self, known: Iterable[str]) -> None:
        """See that the manifest has the columns named.

        Raises:
            ConfigError: it lacks one; the text lists those it has.
        """
        names = list(known)
        for name in sorted(self._names().difference(names)):
            raise ConfigError(
                f"where: the manifest has no column {name!r}; it has {', '.join(sorted(names))}"
            )

    def select(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that are wanted, with their index.

        Raises:
            ConfigError: pandas cannot evaluate the condition, or it is none.
        """
        names = self._names()
        if "status" not in names:
            rows = rows[rows["status"] == "ok"]
        if self.where is None:
            return rows
        try:
            mask = rows.eval(self.where, engine="python")
        except Exception as error:  # pandas raises nearly anything, by what is compared with what
            raise ConfigError(f"where: {self.where!r}: {error}: {_LIKE}") from error
        if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask):
            raise ConfigError(f"where: {self.where!r} is neither true nor false of a row: {_LIKE}")
        return rows.loc[mask]

    def _names(self) -> frozenset[str]:
        if self.where is None:
            return frozenset()
        try:
            nodes = list(ast.walk(ast.parse(self.where.strip(), mode="eval")))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"where: {self.where!r} is no condition ({error}): {_LIKE}") from None
        for node in nodes:
            if not isinstance(node, _ALLOWED):
                kind = type(node).__name__
                raise ConfigError(
                    f"where: {self.where!r} holds a {kind}, which is refused: {_LIKE}"
                )
        return frozenset(node.id for node in nodes if isinstance(node, ast.Name))
