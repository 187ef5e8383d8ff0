"""Tokens: who may use a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffaug.errors import ConfigError
from diffaug.serve.problems import ProblemError
from diffaug.serve.tokens import Tokens, read_tokens

ONE, OTHER = "a" * 24, "b" * 24


def test_without_tokens_everyone_may() -> None:
    assert Tokens().owner(None) == Tokens().owner("Bearer whatever") == ""


def test_each_token_is_an_owner() -> None:
    tokens = Tokens([ONE, OTHER])
    assert tokens.owner(f"Bearer {ONE}") == tokens.owner(f"bearer {ONE} ")
    assert tokens.owner(f"Bearer {ONE}") != tokens.owner(f"Bearer {OTHER}")


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", f"Basic {ONE}", f"Bearer {ONE}x", ONE, "Bearer \udcff"]
)
def test_anything_else_is_refused_and_not_repeated(given: str | None) -> None:
    with pytest.raises(ProblemError) as error:
        Tokens([ONE, OTHER]).owner(given)
    assert error.value.status == 401
    assert error.value.headers == {"WWW-Authenticate": "Bearer"}
    assert ONE not in error.value.detail


def test_a_file_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# of the cluster\n{ONE}\n\n  {OTHER}\n")
    assert read_tokens(path).owner(f"Bearer {OTHER}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no token"),
        (b"# nobody\n", "holds no token"),
        (b"short\n", "token 1 of .* is not 16 or more"),
        (f"{ONE}\n{ONE} {OTHER}\n".encode(), "token 2 of"),
        (b"\xff\xfe" * 20, "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_tokens(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens(tmp_path / "none")
