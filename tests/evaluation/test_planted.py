"""Whether `diffaug evaluate` finds an effect that is there, and none that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffaug.evaluation.kinds import IMAGES, IN_TURN
from tests.conftest import SHARDS, Cli
from tests.support.hostile import write_samples
from tests.support.jobs import GREY, webdataset

pytestmark = [pytest.mark.numerics, pytest.mark.proof]

SOURCE = [str(shard) for shard in SHARDS[:2]]


def verdicts(output: Path) -> list[dict[str, Any]]:
    results = json.loads((output / "results/results.json").read_text())
    found: list[dict[str, Any]] = results["verdicts"]
    assert [verdict["of"] for verdict in found] == ["clean", "corrupted"]
    return found


def test_pure_noise_never_helps(tmp_path: Path, cli: Cli) -> None:
    """At strength 1 a copy has nothing of its image: some other piece of clothing, ill labelled."""
    flags = ["--labels", "4", "--seeds", "3", "--validation", "1", "--train-steps", "30"]
    flags += ["--model", GREY, "--arms", "blur,noise,reconstruct", "--strengths", "1"]
    flags += ["--copies", "2", "--steps", "4", "--test", str(SHARDS[2])]
    flags += ["--severities", "3", "--train-batch", "32"]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags)
    assert said.code == 0, said
    for verdict in verdicts(tmp_path / "out"):
        assert verdict["word"] in ("hurts", "no evidence")
        assert verdict["sentence"] in said.out


def test_what_must_help_is_found_to_help(tmp_path: Path, cli: Cli) -> None:
    """As copies of an image: the test images of its class, which nothing else has seen."""
    tested = list(webdataset(SHARDS[2]))
    copies = [
        {"__key__": f"{source['__key__']}-{number}".encode(), "png": other["png"]}
        for shard in SHARDS[:2]
        for source in webdataset(shard)
        for number, other in enumerate(tested)
        if other["cls"] == source["cls"]
    ]
    shard = write_samples(tmp_path / "cheat.tar", copies)
    flags = ["--labels", "2", "--seeds", "4", "--validation", "1", "--augmented", f"cheat={shard}"]
    flags += ["--arms", "blur,noise,field", "--train-steps", "60"]
    flags += ["--train-batch", "32", "--corruptions", "contrast", "--severities", "1"]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags, "--test", str(SHARDS[2]))
    assert said.code == 0, said
    clean, corrupted = verdicts(tmp_path / "out")
    assert (clean["word"], clean["arm"]) == ("helps", "cheat")
    assert corrupted["word"] != "hurts"
    records = tmp_path / "out/trials/seed-0"
    for family in (*IMAGES.matched, IN_TURN):  # the same arm was chosen, so it is the same training
        first, second = (
            json.loads((records / f"2-{family}-for-{of}.json").read_text())
            for of in ("clean", "corrupted")
        )
        assert (first["scores"], second["seconds"]) == (second["scores"], 0)
