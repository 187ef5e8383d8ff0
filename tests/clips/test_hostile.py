"""Every hostile clip through a real job: what becomes of it is what docs/clips.md says."""

from __future__ import annotations

from pathlib import Path

from tests.support.hostile_clips import BEGIN, CASES, END, PAGE, rows, table

MADE = {
    *("plain", "turned", "deep", "odd", "later", "varying", "ordered", "sound", "two", "clear"),
    "key",
}


def test_hostile_clips(tmp_path: Path) -> None:
    found = rows(tmp_path)
    assert set(found[found["status"] == "ok"]["source_key"]) == MADE
    assert len(found) == len(CASES)
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0].strip() == table(found).strip()
