"""Parameters of a request: read as the members of a shard are, and no longer than those."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from diffaug.manifest.columns import LONGEST_TEXT
from diffaug.shards.stream import LONGEST_NAME, integer

__all__ = ["Copy", "Key", "LabelNumber", "LabelText"]


def _digits(value: Any) -> Any:
    """Decimal digits alone, as in a shard: no 1.0, and no 1_0."""
    if isinstance(value, str) and integer(value) is None:
        raise PydanticCustomError("digits", "must be an integer, in at most 18 decimal digits")
    return value


Copy = Annotated[int, Query(ge=0, lt=2**31), BeforeValidator(_digits)]
LabelNumber = Annotated[int, Query(ge=-(2**63), lt=2**63), BeforeValidator(_digits)]
LabelText = Annotated[str, Query(max_length=LONGEST_TEXT)]
Key = Annotated[str, Query(max_length=LONGEST_NAME)]
