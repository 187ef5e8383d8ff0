"""`--part I/N`: several processes that do one job, each its own part of the plan."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import diffaug
from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.job.portion import WHOLE, Portion
from diffaug.output.run import SourceShard
from diffaug.output.survey import Survey, survey
from tests.conftest import Cli
from tests.support.forks import LANES, Forks
from tests.support.gate import JUDGE, NAME, hold
from tests.support.hostile import fashion, png, write_samples
from tests.support.jobs import GREY, augmented, manifest, planned, tars

FLAGS = (f"--model={GREY}", "--sampler=one-step", "--strength=0.4")


def shards(folder: Path, count: int) -> list[Path]:
    return [write_samples(folder / f"in/s{n}.tar", fashion(3, 3 * n)) for n in range(count)]


@pytest.mark.process
def test_three_run_side_by_side_and_one_is_killed_and_repeated(
    tmp_path: Path, forked: Forks
) -> None:
    """As on a cluster that starts the same command in three places, and one again."""
    sources, output = shards(tmp_path, 7), tmp_path / "out"
    flags = [*FLAGS, f"--judges={JUDGE}", "--part"]
    command: list[str | Path] = ["augment", *sources, output, *flags]
    gate = tmp_path / "gate"
    hold(gate, output, 0)
    held = forked.start(*command, "2/3", env=os.environ | {NAME: str(gate)})
    others = [forked.start(*command, f"{number}/3") for number in (1, 3)]
    for number, other in zip((1, 3), others, strict=True):
        assert other.wait() == 0, other.err
        assert f"part {number}/3: " in other.out
        assert "next:" not in other.err
    assert not (output / "shards.txt").exists()
    assert len(list(output.glob("manifest/*"))) == 5
    held.send_signal(signal.SIGKILL)
    held.wait()
    last = forked(*command, "2/3")
    assert last.returncode == 0, last.stderr
    assert "21 planned = 21 made + 0 filtered + 0 failed; 7 of 7 shards committed" in last.stdout
    assert "part 2/3: 6 planned = 6 made + 0 filtered + 0 failed; 2 of 2 shards" in last.stdout
    frame = augmented(sources, tmp_path / "calm", judges=[JUDGE], batch_size=LANES)
    assert tars(output) == tars(tmp_path / "calm")
    pd.testing.assert_frame_equal(manifest(output), frame)
    listed = (output / "shards.txt").read_text()
    assert listed == (tmp_path / "calm/shards.txt").read_text()


def test_the_status_is_about_the_part(tmp_path: Path, cli: Cli) -> None:
    good, more = shards(tmp_path, 2)
    torn = write_samples(tmp_path / "in/torn.tar", [{"__key__": b"torn", "png": png(0)[:60]}])
    command = ("augment", good, torn, more, tmp_path / "out", *FLAGS, "--batch-size=4", "--part")
    said = cli(*command, "2/3")
    assert said.code == 1
    assert "part 2/3: 1 planned = 0 made + 0 filtered + 1 failed; 1 of 1 shards" in said.out
    assert "1 of 1 failed, more than --max-failed 0.01" in said.err
    assert cli(*command, "1/3").code == 0
    said = cli(*command, "3/3")
    assert said.code == 0
    assert "7 planned = 6 made + 0 filtered + 1 failed; 3 of 3 shards committed" in said.out
    assert "next:" in said.err


def test_more_parts_than_shards_leave_some_with_nothing(tmp_path: Path, cli: Cli) -> None:
    command = ("augment", *shards(tmp_path, 1), tmp_path / "out", *FLAGS, "--part", "5/9")
    said = cli(*command)
    assert said.code == 0
    assert "part 5/9: 0 planned" in said.out
    assert "0 of 0 shards to do" in cli(*command, "--dry-run").out


@pytest.mark.parametrize("of", range(1, 6))
def test_every_shard_is_in_one_part_and_stays_there(of: int) -> None:
    plan = [SourceShard(url=f"{number}.tar", stem=str(number)) for number in range(11)]
    for known in (7, 11):
        found = [Portion(number, of).shards(plan[:known]) for number in range(1, of + 1)]
        assert sorted(shard.url for part in found for shard in part) == sorted(
            shard.url for shard in plan[:known]
        )
        assert max(map(len, found)) - min(map(len, found)) <= 1
        for number, part in enumerate(found, start=1):
            assert set(part) <= set(Portion(number, of).shards(plan))
    assert list(WHOLE.shards(plan)) == plan


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", ""])
def test_what_is_no_part_is_a_sentence(text: str, tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(ConfigError, match="a part must be I/N with 1 <= I <= N"):
        Portion.parse(text)
    said = cli("augment", *shards(tmp_path, 1), tmp_path / "out", f"--part={text}")
    said.assert_mistake("a part must be I/N with 1 <= I <= N, such as 2/8")


@pytest.mark.parametrize("flags", [("--redo", "s0"), ("--pilot", "2")])
def test_what_does_not_go_with_a_part(flags: tuple[str, str], tmp_path: Path, cli: Cli) -> None:
    said = cli("augment", *shards(tmp_path, 1), tmp_path / "out", "--part=1/2", *flags)
    said.assert_mistake(f"--part and {flags[0]} do not go together")


@pytest.mark.parametrize("device", ["all", "cpu,cpu", "cuda:0,cuda:1"])
def test_several_devices_are_several_parts(device: str, tmp_path: Path, cli: Cli) -> None:
    said = cli("augment", *shards(tmp_path, 1), tmp_path / "out", f"--device={device}")
    said.assert_mistake(f"--device {device}: a command uses one device")
    assert "--part I/N and CUDA_VISIBLE_DEVICES" in said.err


def test_a_list_that_another_process_wrote_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look of one at what is committed and its removal of a list it takes for old."""
    sources, output = shards(tmp_path, 2), tmp_path / "out"
    run = planned(sources, output)
    list(diffaug.augment_shards(run.sources[:1], str(output), run=run))
    looks = list[int]()

    def surveyed(shards: Iterable[SourceShard], url: str, *rest: Any) -> Survey:
        found = survey(shards, url, *rest)
        looks.append(len(found.committed))
        if len(looks) == 1:
            other = threading.Thread(target=finish_the_rest)
            other.start()
            other.join()
        return found

    def finish_the_rest() -> None:
        list(diffaug.augment_shards(run.sources[1:], str(output), run=run))
        diffaug.finish(run, str(output))

    monkeypatch.setattr("diffaug.job.finish.survey", surveyed)
    summary = diffaug.finish(run, str(output))
    assert looks == [1, 2, 2]
    assert summary.complete
    assert len(storage.read_bytes(str(output / "shards.txt")).split()) == 2


def test_a_plan_of_another_machine_that_was_frozen_meanwhile_is_refused(tmp_path: Path) -> None:
    """As where two machines that are not alike start at the same time."""
    plan = diffaug.plan_run(list(map(str, shards(tmp_path, 2))), str(tmp_path / "out"), {})
    other = plan.model_copy(update={"device_class": "cpu/abacus"})
    assert diffaug.freeze(plan, str(tmp_path / "out")) == plan
    with pytest.raises(ConfigError, match=r"device class \(cpu/.* there, cpu/abacus here\)"):
        diffaug.freeze(other, str(tmp_path / "out"))
    assert diffaug.freeze(other, str(tmp_path / "out"), allow_mixed=True) == plan


def test_what_is_done_again_is_no_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="redo and a part of a job do not go together"):
        diffaug.Job.plan(
            str(shards(tmp_path, 1)[0]), str(tmp_path), {}, redo=["s0"], portion=Portion(1, 2)
        )
    with pytest.raises(ConfigError, match="got 0/3"):
        Portion(0, 3)
