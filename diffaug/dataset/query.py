"""Choosing rows of a manifest by a condition in pandas' query syntax, restricted to be safe."""

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
"""No calls, attributes or indexing: a condition can compare and calculate, and nothing else."""

_LIKE = (
    'write a condition over the manifest\'s columns, such as status == "ok" and score_ssim > 0.4'
)


@dataclass(frozen=True)
class Query:
    """A condition over the manifest's columns.

    A condition that does not name `status` chooses only rows that are `ok`. One that does decides
    alone.

    Args:
        where: a condition for pandas' `DataFrame.query`, made of columns, literals, comparisons,
            `in`, arithmetic, `and`, `or` and `not`; None for no further condition.

    Raises:
        ConfigError: the condition contains anything else.
    """

    where: str | None = None

    def __post_init__(self) -> None:
        if self.where is not None and not isinstance(self.where, str):
            raise ConfigError(f"where: {self.where!r} is not a condition: {_LIKE}")
        if self.where is not None and not self._names():
            raise ConfigError(f"where: {self.where!r} names no column: {_LIKE}")

    @property
    def columns(self) -> frozenset[str]:
        """The columns that `select` needs."""
        return self._names() | {"status"}

    def check(self, known: Iterable[str]) -> None:
        """Check that the manifest has the columns named.

        Raises:
            ConfigError: it lacks one; the text lists those it has.
        """
        names = list(known)
        for name in sorted(self._names().difference(names)):
            raise ConfigError(
                f"where: the manifest has no column {name!r}; it has {', '.join(sorted(names))}"
            )

    def select(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The chosen rows, with their index.

        Raises:
            ConfigError: pandas cannot evaluate the condition, or it is not true or false of a row.
        """
        names = self._names()
        if "status" not in names:
            rows = rows[rows["status"] == "ok"]
        if self.where is None:
            return rows
        try:
            mask = rows.eval(self.where, engine="python")
        except Exception as error:  # pandas raises nearly anything, depending on the operands
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
            raise ConfigError(
                f"where: {self.where!r} is not a condition ({error}): {_LIKE}"
            ) from None
        for node in nodes:
            if not isinstance(node, _ALLOWED):
                kind = type(node).__name__
                raise ConfigError(
                    f"where: {self.where!r} contains a {kind}, which is not allowed: {_LIKE}"
                )
        return frozenset(node.id for node in nodes if isinstance(node, ast.Name))
