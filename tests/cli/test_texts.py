"""What the commands make of texts: each works, or refuses in a sentence."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import MLCROISSANT, Cli
from tests.support.hostile import write_samples
from tests.support.jobs import augmented
from tests.support.language_models import SENTENCES, bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a shard, and a finished job."""
    folder = tmp_path_factory.mktemp("texts")
    bert(folder / "bert")
    samples = [
        {"__key__": b"%d" % number, "txt": text.encode(), "cls": b"%d" % (number % 2)}
        for number, text in enumerate(SENTENCES)
    ]
    write_samples(folder / "s.tar", samples)
    fields: dict[str, Any] = {"model": str(folder / "bert"), "sampler": "random", "steps": 4}
    augmented([folder / "s.tar"], folder / "out", copies=2, strength=0.6, **fields)
    return folder


def text_of(row: Any, output: Path) -> bytes:
    with tarfile.open(output / row["output_shard"]) as tar:
        member = tar.extractfile(row["output_member"])
        assert member is not None
        return member.read()


def test_verify_and_replay(folder: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("verify", folder / "out", "--replay", "5")
    assert said.code == 0, said
    assert "5 replayed: 5 equal" in said.out
    assert "1 shards checked, 0 differences" in said.out
    row = pd.read_parquet(folder / "out/manifest").iloc[3]
    said = cli("replay", folder / "out", row["sample_id"], "-o", tmp_path / "one.txt")
    assert said.code == 0, said
    assert (tmp_path / "one.txt").read_bytes() == text_of(row, folder / "out")


def test_verify_finds_a_letter_that_has_changed(folder: Path, tmp_path: Path, cli: Cli) -> None:
    fields: dict[str, Any] = {"model": str(folder / "bert"), "sampler": "random", "steps": 2}
    rows = augmented([folder / "s.tar"], tmp_path / "out", **fields)
    (tar,) = (tmp_path / "out/shards").glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[rows["output_offset"].iloc[2]] ^= 1
    tar.write_bytes(bytes(data))
    said = cli("verify", tmp_path / "out")
    assert said.code == 1
    assert f"{rows['output_member'].iloc[2]}: its bytes or offset differ" in said.out


def test_compact(folder: Path, cli: Cli) -> None:
    said = cli("compact", folder / "out")
    assert said.code == 0, said
    assert len(pd.read_parquet(folder / "out/lineage")) == 16


@MLCROISSANT
def test_export(folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlcroissant

    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "cache"))
    said = cli("export", folder / "out")
    assert said.code == 0, said
    dataset = mlcroissant.Dataset(folder / "out/croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.description.startswith("Synthetic texts:")
    found = {record["results/filename"]: record for record in dataset.records("results")}
    rows = pd.read_parquet(folder / "out/manifest")
    assert {_text(name) for name in found} == set(rows["output_member"])
    for name, record in found.items():
        row = rows[rows["output_member"] == _text(name)].iloc[0]
        assert _text(record["results/content"]) == text_of(row, folder / "out").decode()
    assert len(list(dataset.records("rows"))) == 16


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_a_plan_and_a_pilot(folder: Path, tmp_path: Path, cli: Cli) -> None:
    job = [
        "augment",
        folder / "s.tar",
        tmp_path / "out",
        "--model",
        folder / "bert",
        "--steps",
        "4",
    ]
    said = cli(*job, "--dry-run")
    assert said.code == 0, said
    assert "about 8 texts, " in said.out
    assert "network calls of one text, " in said.out
    said = cli(*job, "--pilot", "3")
    assert said.code == 0, said
    assert "12 texts tried, 0 of them failed" in said.out
    assert f"texts: {tmp_path}/out/report/pilot.txt" in said.out
    assert "score_edit" in said.out
    shown = (tmp_path / "out/report/pilot.txt").read_text()
    assert shown.count("source: ") == 3
    assert shown.count("strength 0.20\n") == shown.count("strength 0.80\n") == 3
    assert [text in shown for text in SENTENCES].count(True) == 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["pilot.txt"]


def test_a_job(folder: Path, tmp_path: Path, cli: Cli) -> None:
    job = [
        "augment",
        folder / "s.tar",
        tmp_path / "out",
        "--model",
        folder / "bert",
        "--steps",
        "2",
    ]
    said = cli(*job)
    assert said.code == 0, said
    assert "8 texts now, " in said.out
    assert "help a classifier" not in said.err  # which evaluate does not measure of texts


def test_what_is_for_pictures_says_so(folder: Path, cli: Cli) -> None:
    model = ["--model", folder / "bert"]
    cli("try", folder / "s.tar", *model).assert_mistake("augment SOURCE OUTPUT --pilot 12")
    cli("serve", *model).assert_mistake("texts are not served: run diffaug augment, or a loader")
