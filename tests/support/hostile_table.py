"""Every hostile input through real jobs, and the page that reports what happened to each.

python -m tests.support.hostile_table      generates docs/hostile-inputs.md again
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from diffaug.manifest.part import Row, read_metadata
from tests.conftest import ROOT
from tests.support.hostile import END, blocks, encoded
from tests.support.hostile_case import FIRST, LAST, Case, Group
from tests.support.hostile_files import FILES
from tests.support.hostile_images import IMAGES
from tests.support.hostile_labels import LABELS
from tests.support.hostile_names import NAMES, SAMPLES, SHARDS
from tests.support.hostile_pictures import PICTURES
from tests.support.hostile_requests import REQUESTS
from tests.support.hostile_sources import REFUSED, refusal
from tests.support.hostile_tars import TARS
from tests.support.jobs import augmented

STRENGTH = 0.02
PAGE = ROOT / "docs/hostile-inputs.md"
GROUPS = (TARS, SHARDS, NAMES, SAMPLES, LABELS, IMAGES, FILES)
CASES: dict[str, tuple[Group, Case]] = {
    case.name: (group, case) for group in GROUPS for case in group.cases.values()
}

HEAD = """\
# {count} hostile inputs, and what happened to each

Every input below was made, put into a shard and augmented by a real job. This page was generated
from that job's manifest. `tests/shards/test_hostile.py` checks the verdicts, which are written
next to each input in `tests/support/hostile_*.py`, and that this page is what the job gives today
(`python -m tests.support.hostile_table` generates it again). Most inputs stand between two good
samples, `a` and `z`, in one shard: unless the page reports that something was cut, corrupt or
lost, both came out with exactly the bytes they have in a clean shard. *The right image* means
that the result was compared with the result for the same picture in a plain PNG: byte for byte
where the file loses nothing of it and stores its very pixels, from which noise is drawn, and
otherwise approximately. Nothing was unpickled, followed, opened by name or run.

Pictures, labels and shards are also sent to a real `diffaug serve`, one in each request. It answers
with the bytes of the job, or with its reason code and its reason; what else a request can do is in
the last table.
"""

HTTP = """
## Requests

Each was sent to a real `diffaug serve`, over a socket of its own. None was answered by a 500, left
without an answer, or kept others from one (`tests/serve/test_hostile_http.py`). Connections that a
client only keeps are closed by a clock that the tests set (`tests/serve/test_impatient.py`).

| input | status | code of the problem |
| --- | --- | --- |
"""


def run(folder: Path) -> None:
    """One job a group: its inputs, a clean shard, and the plain pictures that they show."""
    for group in GROUPS:
        inputs = folder / group.name
        inputs.mkdir(parents=True)
        sources = [case.write(inputs) for case in group.cases.values()]
        plain = [(f"{name}.png", encoded(shown, "PNG")) for name, shown in PICTURES.items()]
        labelled = [(f"{name}.cls", b"7") for name in PICTURES]
        pairs = [file for pair in zip(plain, labelled, strict=True) for file in pair]
        for name, files in {"clean": [*FIRST, *LAST], "pictures": pairs}.items():
            sources.append(inputs / f"{name}.tar")
            sources[-1].write_bytes(blocks(files) + END)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Corrupt EXIF|Palette images", UserWarning)
            found = [inputs / "*"] if group is SHARDS else sources  # names that are patterns
            augmented(found, inputs / "out", strength=STRENGTH, detail="none", **group.fields)


@cache
def rows(output: Path, stem: str) -> list[Row]:
    """The manifest's rows of one shard, in order, as pandas reads them."""
    found = pd.read_parquet(output / f"manifest/{stem}.parquet").astype(object)
    records: list[Row] = found.where(found.notna(), None).to_dict("records")  # type: ignore[assignment]
    return records


def passed(output: Path, shard: str) -> int:
    """How many keys of a shard are no sample, as its report has it."""
    found: int = read_metadata(output / f"manifest/{shard}.parquet")["report"]["passed_over"]
    return found


def page(folder: Path) -> str:
    """The page, from the manifests that `run` left."""
    text = HEAD.format(count=len(CASES) + len(REFUSED) + len(REQUESTS))
    for group in GROUPS:
        text += f"\n## {group.title}\n\n| input | what happened | reason code | reason |\n"
        text += "| --- | --- | --- | --- |\n"
        for case in group.cases.values():
            output = folder / group.name / "out"
            text += _line(case.what, _outcome(rows(output, case.stem), passed(output, case.stem)))
    text += "\n## Sources and models\n\n| input | what happened | message |\n"
    text += "| --- | --- | --- |\n"
    for name in REFUSED:
        what, said = refusal(name)
        text += _line(what, [("refused before anything is read", said)])
    text += HTTP
    for asked in REQUESTS.values():
        code = f"`{asked.code}`" if asked.code else ""
        text += _line(asked.what, [(str(asked.status), code)])
    return text


def _outcome(found: list[Row], passed_over: int) -> list[tuple[str, str, str]]:
    """Verdict, code and reason of each row, except the neighbours that came through.

    Without such a row, what was not even counted was skipped.
    """
    odd = [row for row in found if row["status"] != "ok" or row["source_key"] not in ("a", "z")]
    outcomes = []
    for row in odd:
        verdict = "the right image" if row["status"] == "ok" else "failed"
        if len(odd) > 1:
            verdict = (
                f"{'the shard' if row['source_key'] is None else row['source_key']}: {verdict}"
            )
        code = f"`{row['reason_code']}`" if row["reason_code"] else ""
        outcomes.append((verdict, code, row["reason"] or ""))
    without = f"{passed_over} passed over, counted and named" if passed_over else "skipped"
    return outcomes or [(f"{without}, without a row", "", "")]


def _line(what: str, outcomes: Sequence[tuple[str, ...]]) -> str:
    columns = (
        "<br>".join(_plain(text) for text in column) for column in zip(*outcomes, strict=True)
    )
    return f"| {_plain(what[0].upper() + what[1:])} | {' | '.join(columns)} |\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        run(Path(temporary))
        PAGE.write_text(page(Path(temporary)), encoding="utf-8")
