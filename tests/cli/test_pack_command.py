"""`diffaug pack`: what it prints, its exit codes, and mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import diffaug.pack
from diffaug.pack import Limits
from tests.conftest import Cli, diffaug_command
from tests.support.jobs import tree
from tests.support.packing import (
    as_csv,
    as_folder,
    as_idx,
    idx,
    samples,
    write,
)


def test_the_command_packs_and_a_rerun_says_that_it_did_nothing(tmp_path: Path) -> None:
    source = as_folder(tmp_path)
    arguments = ["pack", "all", "out", "--shard-count", "2", "--shuffle", "3", "--name", "s"]
    ran = diffaug_command(*arguments, cwd=tmp_path)
    assert ran.returncode == 0
    assert ran.stderr == "next: diffaug try 'out/s-{000000..000002}.tar'\n"
    assert ran.stdout == (
        "6 found = 6 packed + 0 left out\n"
        "4 of 4 files written: out/s-{000000..000002}.tar and out/s.yaml\n"
    )
    again = diffaug_command("pack", source, tmp_path / "out", *arguments[3:])
    assert again.returncode == 0
    assert (
        "0 of 4 files written; the others already existed with the same content: " in again.stdout
    )


def test_the_command_names_what_it_leaves_out(tmp_path: Path, cli: Cli) -> None:
    source = as_folder(tmp_path)
    write(source / "ape/broken.png", b"no image")
    write(source / "ape/readme.txt", b"no image")
    said = cli("pack", source, tmp_path / "out")
    assert said.code == 1
    assert "7 found = 6 packed + 1 left out" in said.out
    assert "left out ape/broken.png: the bytes are not in a known image format" in said.err
    assert "1 file does not have an image's extension" in said.err
    assert "1 of 7 left out, more than --max-failed 0.01" in said.err
    assert cli("pack", source, tmp_path / "out", "--max-failed", "0.15").code == 0
    assert (tmp_path / "out/all-000000.tar").exists()


def test_the_command_takes_every_option(tmp_path: Path, cli: Cli) -> None:
    as_csv(tmp_path)
    frame = pd.read_csv(tmp_path / "all.csv").rename(columns={"path": "p", "label": "l"})
    frame.to_csv(tmp_path / "all.csv", index=False)
    flags = ["--image-column", "p", "--label-column", "l", "--classes", "x, y,z"]
    assert (
        cli("pack", tmp_path / "all.csv", tmp_path / "out", *flags, "--shard-bytes", "10.24kB").code
        == 0
    )
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("*.tar")]
    assert (max(sizes), len(sizes) > 1) == (10_240, True)
    assert {sample["txt"] for sample in samples(tmp_path / "out")} == {b"x", b"y", b"z"}
    images = as_idx(tmp_path)
    other = idx(tmp_path / "other", np.arange(6), 0x801)
    assert cli("pack", images, tmp_path / "idx", "--labels", other, "--max-pixels", "784").code == 0
    assert [int(sample["cls"]) for sample in samples(tmp_path / "idx")] == list(range(6))


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such source": (["{tmp}/none", "{tmp}/out"], "no such source: "),
    "no such table": (["{tmp}/none.csv", "{tmp}/out"], "no such source: "),
    "unknown protocol": (["pigeon://x", "{tmp}/out"], "not a URL diffaug can open"),
    "output under a file": (["{all}", "{csv}/out"], "cannot write to "),
    "output of no protocol": (["{all}", "pigeon://x"], "not a URL diffaug can open"),
    "output in the source": (["{all}", "{all}/out"], "choose another OUTPUT"),
    "a folder of no image": (
        ["{tmp}/empty", "{tmp}/out"],
        "holds no image; 1 file does not have an image",
    ),
    "a table of no row": (["{tmp}/none-in.csv", "{tmp}/out"], "holds no image"),
    "an empty table": (["{tmp}/empty.csv", "{tmp}/out"], "its columns are (none)"),
    "a Parquet that is none": (["{tmp}/bad.parquet", "{tmp}/out"], "cannot be read as Parquet: "),
    "a CSV not in UTF-8": (["{tmp}/latin.csv", "{tmp}/out"], "cannot be read as CSV: 'utf-8'"),
    "a CSV of ragged rows": (
        ["{tmp}/ragged.csv", "{tmp}/out"],
        "line 3 has 3 fields, but the head",
    ),
    "a CSV of an open quote": (["{tmp}/quote.csv", "{tmp}/out"], "unexpected end of data"),
    "an image": (["{all}/ape/deeper/0.png", "{tmp}/out"], "not an idx file of images: expected"),
    "no such image column": (
        ["{csv}", "{tmp}/out", "--image-column", "img"],
        "has no column img: its columns are path, label",
    ),
    "no such label column": (
        ["{csv}", "{tmp}/out", "--label-column", "lab"],
        "has no column lab: its columns are path, label",
    ),
    "no usual image column": (["{tmp}/odd.csv", "{tmp}/out"], "its columns are img, label"),
    "numbers as images": (
        ["{tmp}/odd.parquet", "{tmp}/out", "--image-column", "label"],
        "the column label holds neither paths nor images",
    ),
    "images as labels": (
        ["{tmp}/odd.parquet", "{tmp}/out", "--image-column", "img", "--label-column", "raw"],
        "the column raw holds neither integers nor text",
    ),
    "labels for a folder": (["{all}", "{tmp}/out", "--labels", "{csv}"], "--labels is for idx"),
    "a column of a folder": (["{all}", "{tmp}/out", "--image-column", "x"], "are for .csv and"),
    "no such labels": (["{idx}", "{tmp}/out", "--labels", "{tmp}/none"], "no such file: "),
    "classes too few": (
        ["{csv}", "{tmp}/out", "--classes", "a,b"],
        "name 3, for the labels 0 to 2",
    ),
    "classes twice": (["{csv}", "{tmp}/out", "--classes", "a,b,a"], "names a twice"),
    "classes empty": (["{csv}", "{tmp}/out", "--classes", "a,,b"], "an empty name"),
    "classes of none": (["{all}/ape/deeper", "{tmp}/out", "--classes", "a"], "no class folders"),
    "shards of none": (
        ["{all}", "{tmp}/out", "--shard-count", "0"],
        "--shard-count must be at least 1",
    ),
    "shards of no byte": (
        ["{all}", "{tmp}/out", "--shard-bytes", "0"],
        "--shard-bytes must be at least 1",
    ),
    "bytes in words": (["{all}", "{tmp}/out", "--shard-bytes", "much"], "got 'much'"),
    "a seed below 0": (["{all}", "{tmp}/out", "--shuffle", "-1"], "--shuffle takes a seed"),
    "a name with a slash": (
        ["{all}", "{tmp}/out", "--name", "a/b"],
        "--name must begin with a letter",
    ),
    "a hidden name": (["{all}", "{tmp}/out", "--name", ".a"], "--name must begin with a letter"),
    "max-pixels 0": (["{all}", "{tmp}/out", "--max-pixels", "0"], "--max-pixels"),
    "max-failed 2": (["{all}", "{tmp}/out", "--max-failed", "2"], "fraction in [0, 1], got 2"),
    "one argument": (["{all}"], "--output requires an argument"),
    "secret": (["https://me:hush@h.invalid/a.csv", "{tmp}/out"], "https://h.invalid/a.csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(mistake: str, tmp_path: Path, cli: Cli) -> None:
    places = {"tmp": tmp_path, "all": as_folder(tmp_path), "csv": as_csv(tmp_path)}
    places["idx"] = as_idx(tmp_path)
    files = {
        "empty/readme.md": b"",
        "none-in.csv": b"path,label\n",
        "empty.csv": b"",
        "bad.parquet": b"PAR1 is how it begins",
        "latin.csv": "path\ncaf\xe9.png\n".encode("latin-1"),
        "ragged.csv": b"path,label\na.png,1\na.png,1,2\n",
        "quote.csv": b'path,label\n"a.png,1\nb.png,2\n',
        "odd.csv": b"img,label\na.png,1\n",
    }
    for name, data in files.items():
        write(tmp_path / name, data)
    odd = pd.DataFrame({"img": ["a.png"], "label": [1], "raw": [b"x"]})
    odd.to_parquet(tmp_path / "odd.parquet")
    before = tree(tmp_path)
    arguments, sentence = MISTAKES[mistake]
    said = cli("pack", *(part.format(**places) for part in arguments))
    said.assert_mistake(sentence)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("200MB", 200_000_000), ("1.5 GiB", 3 * 2**29), ("10k", 10_000), ("7b", 7)],
)
def test_a_size_is_a_number_with_or_without_a_unit(
    text: str, size: int, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def limits(images: int, size: int) -> Limits:
        asked.append(size)
        return Limits(images)

    monkeypatch.setattr(diffaug.pack, "Limits", limits)
    assert cli("pack", as_folder(tmp_path), tmp_path / "out", "--shard-bytes", text).code == 0
    assert asked == [size]
