"""Every hostile text through a real job: each is made, or a row says why not; nothing is lost."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from tests.support.hostile_texts import BEGIN, END, IN_JSON, PAGE, TEXTS, rows, table
from tests.support.jobs import differences, output_bytes
from tests.support.language_models import bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def found(folder: Path) -> pd.DataFrame:
    return rows(folder, bert(folder / "model"))


def test_each_is_a_row_with_its_reason(found: pd.DataFrame) -> None:
    wanted = {f"{key}.txt": code for key, (_, _, code) in TEXTS.items()}
    wanted |= {f"{key}.json": code for key, (_, _, code) in IN_JSON.items()}
    assert found.set_index("source_member")["reason_code"].fillna("").to_dict() == wanted
    assert (found["status"] == found["reason_code"].isna().map({True: "ok", False: "failed"})).all()
    assert (found["reason"].isna() == (found["status"] == "ok")).all()
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0] == table(found)


def test_outputs_are_as_their_manifests_say(found: pd.DataFrame, folder: Path) -> None:
    assert differences(folder / "plain") == []
    assert differences(folder / "json") == []


def test_what_the_tokenizer_does_not_know_is_still_there(found: pd.DataFrame, folder: Path) -> None:
    """And no made text holds a sign of the model that its source does not have."""
    made = {
        str(row.source_key): output_bytes(folder / "plain", row).decode()
        for row in found[found["status"] == "ok"].itertuples()
        if str(row.source_member).endswith(".txt")
    }
    assert made.pop("marks") != ""  # the tokenizer takes them for a part of the word
    for key, text in made.items():
        source = unicodedata.normalize("NFC", TEXTS[key][1].decode("utf-8-sig"))
        assert [*filter(kept, text)] == [*filter(kept, source)]
        assert unicodedata.is_normalized("NFC", text)
        assert text.count("[MASK]") == source.count("[MASK]")
        assert "[UNK]" not in text


def kept(letter: str) -> bool:
    """Whether it is beyond the tokenizer, whose words are of ASCII."""
    return letter in "\0\r\n\t" or (ord(letter) > 127 and letter not in "\ufb01\u0130ß")
