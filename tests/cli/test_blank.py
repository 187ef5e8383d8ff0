"""A blank path, as an unset variable gives, is a mistake to every command, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffaug
from diffaug import ConfigError
from diffaug.evaluation.plan import plan_evaluation
from diffaug.online.cache import Cache
from diffaug.pack import Totals, open_source, pack
from diffaug.report import contact_sheet, write_report
from diffaug.train.loop import train
from tests.conftest import SHARDS, Cli
from tests.support.hostile import png
from tests.support.outputs import write_output
from tests.support.training import tiny

SHARD = str(SHARDS[0])

COMMANDS = {
    "augment a source": ("augment", "{}", "out"),
    "augment a second source": ("augment", SHARD, "{}", "out"),
    "augment an output": ("augment", SHARD, "{}"),
    "verify": ("verify", "{}"),
    "replay": ("replay", "{}", "0" * 16),
    "replay a file": ("replay", "out", "0" * 16, "-o", "{}"),
    "compact": ("compact", "{}"),
    "export": ("export", "{}"),
    "report": ("report", "{}"),
    "pack a source": ("pack", "{}", "out"),
    "pack an output": ("pack", "pictures", "{}"),
    "pack labels": ("pack", "images-idx3-ubyte", "out", "--labels", "{}"),
    "train a source": ("train", "{}", "checkpoint"),
    "train a checkpoint": ("train", SHARD, "{}"),
    "train held back": ("train", SHARD, "c", "--held-back", "{}", "--size=8", "--channels=1"),
    "evaluate a source": ("evaluate", "{}", "out", "--test", SHARD),
    "evaluate an output": ("evaluate", SHARD, "{}", "--test", SHARD),
    "evaluate a test": ("evaluate", SHARD, "out", "--test", "{}"),
    "evaluate validation": (
        *("evaluate", SHARD, "out", "--test", SHARDS[1]),
        *("--validation-source", "{}"),
    ),
    "doctor": ("doctor", "{}"),
}


def _paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _in_root() -> list[bool]:
    return [Path("/", name).exists() for name in ("run.json", "manifest", "shards", "out.yaml")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(png(0))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_it(name: str, here: Path, cli: Cli) -> None:
    before, root = _paths(here), _in_root()
    for blank in ("", " "):
        if blank == "" and name == "replay a file":
            continue  # pathlib takes it for the current folder, which is no file either
        said = cli(*(str(word).format(blank) for word in COMMANDS[name]))
        said.assert_mistake("is empty or blank")
    assert _paths(here) == before
    assert _in_root() == root


@pytest.mark.parametrize("blank", ["", "\t"])
def test_python_refuses_it(blank: str, here: Path) -> None:
    before = _paths(here)
    pictures, out = open_source("pictures"), str(write_output(here / "pictures/.out"))
    recipe = tiny(steps=1)
    for use in (
        lambda: diffaug.plan_run([blank], out, diffaug.Recipe()),
        lambda: diffaug.Job.plan([SHARD], blank, diffaug.Recipe()),
        lambda: list(diffaug.augment_shards([], blank)),
        lambda: diffaug.summarise(blank),
        lambda: diffaug.AugmentedDataset(blank),
        lambda: open_source(blank),
        lambda: list(pack(pictures, blank, "set", tally=Totals())),
        lambda: list(train([SHARD], blank, recipe)),
        lambda: list(train([blank], "checkpoint", recipe)),
        lambda: plan_evaluation([SHARD], blank, test=[SHARD]),
        lambda: write_report(blank),
        lambda: contact_sheet(blank, here / "sheet.png"),
        lambda: Cache(blank),
    ):
        with pytest.raises(ConfigError, match="is empty or blank"):
            use()
    assert _paths(here) == before | {"pictures/.out", "pictures/.out/run.json"}


def test_no_shard_at_all_is_refused_too(here: Path) -> None:
    for use in (
        lambda: diffaug.plan_run([], "out", diffaug.Recipe()),
        lambda: list(train([], "checkpoint", tiny(steps=1))),
        lambda: plan_evaluation([], "out", test=[SHARD]),
    ):
        with pytest.raises(ConfigError, match="no SOURCE is given"):
            use()
