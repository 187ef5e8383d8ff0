"""The contact sheet and the page show what they say, where they say."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffaug import Recipe
from diffaug.job.plan import freeze, plan_run
from diffaug.report import contact_sheet, write_report
from tests.conftest import SHARDS, Cli
from tests.support.hostile import encoded, fashion, png, write_files, write_samples
from tests.support.jobs import augmented, manifest
from tests.support.outputs import multiply


@pytest.fixture
def output(tmp_path: Path) -> Path:
    augmented([SHARDS[0]], tmp_path / "out", copies=2, strength=(0.2, 0.6))
    return tmp_path / "out"


def member(tar: Path, name: str) -> np.ndarray:
    with tarfile.open(tar) as opened:
        handle = opened.extractfile(name)
        assert handle is not None
        return np.asarray(Image.open(io.BytesIO(handle.read())))


def test_source_stands_beside_its_copies(output: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    rows = pd.read_parquet(output / "manifest")
    sources = len(rows.groupby(["source_shard", "source_key"]))
    assert contact_sheet(str(output), sheet, sources=4, columns=1) == 4
    assert contact_sheet(str(output), sheet, sources=sources, columns=1) == sources
    drawn = np.asarray(Image.open(sheet).convert("L"))
    row = rows.iloc[0]
    expected = [
        member(SHARDS[0], "00000.png"),
        member(output / row["output_shard"], "00000-a0.png"),
        member(output / row["output_shard"], "00000-a1.png"),
    ]
    scale, gap = 140 // 28, 10
    for place, picture in enumerate(expected):
        left = gap + place * (140 + gap)
        shown = drawn[gap : gap + 140 : scale, left : left + 140 : scale]
        assert np.array_equal(shown, picture)


def test_large_pictures_are_reduced(tmp_path: Path, cli: Cli) -> None:
    """A source of 640x400 is 224x140 on the sheet, and 256x160 on the page; so are its copies."""
    data = np.linspace(0, 255, 640 * 400 * 3).reshape(400, 640, 3).astype(np.uint8)
    picture = Image.fromarray(data)
    write_files(tmp_path / "s.tar", [("a.jpg", encoded(picture, "JPEG", quality=95))])
    augmented([tmp_path / "s.tar"], tmp_path / "out", copies=2, model="cifar10-32", strength=0.1)
    assert contact_sheet(str(tmp_path / "out"), tmp_path / "sheet.png", columns=1) == 1
    drawn = Image.open(tmp_path / "sheet.png")
    assert drawn.size == (3 * (224 + 10) + 3 * 10, 140 + 16 + 2 * 10)
    shown = np.asarray(drawn.crop((10, 10, 234, 150)), dtype=int)
    expected = np.asarray(picture.reduce((640 // 224, 400 // 140)).resize((224, 140)), dtype=int)
    assert np.abs(shown - expected).mean() < 4
    images = re.findall(
        r'<img src="data:image/(\w+);base64,(.*?)"( class="large")?', page_of(tmp_path / "out", cli)
    )
    images = [found for found in images if found[2]]
    assert {kind for kind, _, _ in images} == {"webp"}
    for _, data, _ in images:
        with Image.open(io.BytesIO(base64.b64decode(data))) as embedded:
            assert embedded.size == (256, 160)


def test_nothing_to_show_writes_nothing(tmp_path: Path) -> None:
    assert contact_sheet(str(tmp_path), tmp_path / "sheet.png") == 0
    assert not (tmp_path / "sheet.png").exists()


def page_of(output: Path, cli: Cli) -> str:
    said = cli("report", output)
    assert said.code == 0, said
    return (output / "report/index.html").read_text(encoding="utf-8")


def details_of(page: str) -> dict[str, Any]:
    """What a click shows."""
    found = re.search(r'<script type="application/json" id="details">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_the_page_says_what_the_manifest_says(tmp_path: Path, cli: Cli) -> None:
    """It stands alone: no address of anything but itself."""
    output = tmp_path / "out"
    augmented([SHARDS[0]], output, copies=2, strength=(0.2, 0.6), filters=("ssim >= 0.6",))
    rows = pd.read_parquet(output / "manifest")
    page = page_of(output, cli)
    count = rows["status"].value_counts()
    assert count["ok"]
    assert count["filtered"]
    for what in (f"<dt>made, of {len(rows)} planned</dt><dd>{count['ok']}", "kept where &gt;= 0.6"):
        assert what in page
    assert f'<td>bound</td><td class="number">{count["filtered"]}</td>' in page
    for name, ok in rows[rows["status"] == "ok"]["label_text"].value_counts().items():
        assert re.search(rf'<th scope="row">{name}</th>.*?<td class="number">{ok}</td>', page, re.S)
    cards = details_of(page)["cards"]
    assert len(cards) == len(rows)  # few enough to be shown, every one
    for place, card in cards.items():
        row = rows.iloc[int(place)]
        assert list(card["row"]) == list(rows.columns)
        assert card["row"]["sample_id"] == row["sample_id"]
        assert card["command"] == f"diffaug replay {output} {row['sample_id']}"
    assert not re.findall(r'(?:src|href)="(?!data:image/|#)', page)
    said = cli("verify", output, "--clean")
    assert said.code == 0, said
    assert (output / "report/index.html").is_file()


def test_it_is_written_without_torch(output: Path) -> None:
    command = "import sys; from diffaug.cli import app; "
    command += "app.meta(['report', sys.argv[1]], result_action='return_value'); "
    command += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command, str(output)]).returncode == 0
    assert (output / "report/index.html").is_file()


def test_its_pictures_are_those_of_the_shards(tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "out"
    augmented([SHARDS[0]], output, copies=1)
    page = page_of(output, cli)
    rows = pd.read_parquet(output / "manifest").set_index("source_key")
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)"[^>]+alt="copy 0 of (\w+)"', page)
    assert {key for _, key in shown} == set(rows.index)
    for data, key in shown:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        row = rows.loc[key]
        assert np.array_equal(picture, member(output / row["output_shard"], row["output_member"]))


def test_a_source_that_is_gone_and_defects_are_said(tmp_path: Path, cli: Cli) -> None:
    source, output = tmp_path / "s.tar", tmp_path / "out"
    *whole, torn = fashion(4)
    write_samples(source, [*whole, torn | {"png": torn["png"][:100]}])
    augmented([source], output, copies=1)
    source.unlink()
    page = page_of(output, cli)
    assert page.count("cannot be read: ") == 3
    (failed,) = [one for one in details_of(page)["cards"].values() if one["row"]["reason"]]
    assert failed["command"] == ""
    assert f"{source} {failed['row']['source_key']}: {failed['row']['reason']}" in page


def test_of_a_large_output_a_sample_is_shown(tmp_path: Path, cli: Cli) -> None:
    """A hundred thousand rows."""
    output = tmp_path / "out"
    augmented([SHARDS[0]], output, copies=2)
    times = 100_000 // len(manifest(output))
    multiply(output, times)
    page = page_of(output, cli)
    assert "made, of 100,000 planned" in page
    assert "A sample: 40 of 50,000 source images" in page
    assert len(page) < 3_000_000
    keys_shown = {card["row"]["source_key"] for card in details_of(page)["cards"].values()}
    numbers = [int(key.rpartition("-")[2]) for key in keys_shown]
    assert min(numbers) < 100
    assert max(numbers) > times - 100


def test_a_page_of_nothing_is_a_mistake(tmp_path: Path, cli: Cli) -> None:
    cli("report", tmp_path).assert_mistake("is not an output of diffaug")


def test_a_class_may_be_called_anything(tmp_path: Path, cli: Cli) -> None:
    names = (b"$\\frac$", b"<b>&", b"plain")
    samples = [sample | {"txt": name} for sample, name in zip(fashion(3), names, strict=True)]
    augmented([write_samples(tmp_path / "s.tar", samples)], tmp_path / "out", copies=1)
    page = page_of(tmp_path / "out", cli)
    for name in names:
        assert page.count(html.escape(name.decode(), quote=False)) >= 2
    assert "<b>" not in page


def test_of_a_job_that_has_nothing_yet_there_is_no_page(tmp_path: Path, cli: Cli) -> None:
    freeze(plan_run([str(SHARDS[0])], str(tmp_path / "out"), Recipe()), str(tmp_path / "out"))
    cli("report", tmp_path / "out").assert_mistake("no shard is committed yet")


def test_names_are_no_html(tmp_path: Path) -> None:
    """Of shards, keys, classes and of OUTPUT: shown, and never tags, attributes or scripts."""
    evil = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    key, label = evil.replace("/", "-"), f"{evil}$x^2$:b:"
    files = [(f"{key}.png", png(0)), (f"{key}.cls", label.encode()), ("z.png", b"no image")]
    source = write_files(tmp_path / f"{key}.tar", files)
    output = tmp_path / key
    augmented([source], output)
    page = Path(write_report(str(output))).read_text()
    tags = _Tags()
    tags.feed(page)
    assert tags.count["script"] == 2
    assert not any("onerror" in attributes for attributes in tags.attributes)
    assert "onerror=alert(1)" in html.unescape(page)


class _Tags(HTMLParser):
    """Counts the tags of a page, and collects their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.attributes = Counter[str](), list[dict[str, str | None]]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        self.attributes.append(dict(attrs))
