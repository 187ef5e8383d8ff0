"""Disks that fill, outputs that cannot be written, sources that change: told, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, tars, tree
from tests.support.namespace import own_mounts

FAST = ("--model=fashion-mnist-32", "--sampler=one-step", "--strength=0.4", "--batch-size=8")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return [write_samples(tmp_path / f"in/s{n}.tar", fashion(30, 30 * n)) for n in range(3)]


@pytest.fixture
def on_small_disk(
    tmp_path: Path, forked: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """`on_small_disk("diffaug", …)`: a command where `out` is a disk of its own of 400 kB.

    What it returns is the exit status and all that was printed.
    """

    (tmp_path / "out").mkdir()
    with own_mounts(tmp_path_factory.mktemp("trial")) as pid:
        if pid is None:
            pytest.skip("this system lets no user mount a disk of their own (unshare -rm)")

        def run(*command: str) -> tuple[int, str]:
            entry = f"{own_mounts.__module__}:main"
            done = forked(str(pid), *command, cwd=tmp_path, entry=entry)
            assert "Traceback" not in done.stderr, done.stderr
            return done.returncode, done.stdout + done.stderr

        assert run("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", "out") == (0, "")
        yield run


@pytest.mark.process
@pytest.mark.usefixtures("sources")
def test_a_full_disk_is_said_and_the_job_goes_on_when_there_is_room(
    tmp_path: Path, on_small_disk: Run
) -> None:
    augment = ("diffaug", "augment", "in/*.tar", "out", *FAST)
    code, said = on_small_disk(*augment)
    assert code == 1
    assert "diffaug: storage failed: [Errno 28] " in said
    assert "No space left on device. What was committed is kept; run it again" in said
    _, there = on_small_disk("ls", "-A", "out", "out/manifest")
    assert "s0.parquet" in there
    assert ".diffaug-" not in there
    assert on_small_disk("mount", "-o", "remount,size=20M", "out") == (0, "")
    on_small_disk("diffaug", "verify", "out")
    assert on_small_disk(*augment)[0] == 0
    assert "3 shards checked, 0 differences" in on_small_disk("diffaug", "verify", "out")[1]
    assert on_small_disk("cp", "-r", "out", "copy") == (0, "")
    augmented([tmp_path / "in/*.tar"], tmp_path / "calm")
    assert tars(tmp_path / "copy") == tars(tmp_path / "calm")


@pytest.mark.process
@pytest.mark.usefixtures("sources")
def test_an_output_that_turned_read_only_is_said(on_small_disk: Run) -> None:
    assert on_small_disk("diffaug", "augment", "in/s0.tar", "out", *FAST)[0] == 0
    assert on_small_disk("mount", "-o", "remount,ro", "out") == (0, "")
    code, said = on_small_disk("diffaug", "augment", "in/*.tar", "out", *FAST)
    assert code == 2
    assert "cannot write to out: Read-only file system: choose an OUTPUT that can be" in said
    assert "1 shards checked, 0 differences" in on_small_disk("diffaug", "verify", "out")[1]


def test_a_source_that_changed_is_refused(sources: list[Path], tmp_path: Path, cli: Cli) -> None:
    command = ("augment", *sources, tmp_path / "out", *FAST)
    assert cli(*command).code == 0
    before = tree(tmp_path / "out")
    sources[0].touch()  # newer, but the same
    assert cli(*command).code == 0
    data = bytearray(sources[1].read_bytes())
    data[-1] ^= 1
    sources[1].write_bytes(data)
    cli(*command).assert_mistake(f"{sources[1]} has changed since being augmented")
    write_samples(sources[2], fashion(31, 60))
    cli(*command).assert_mistake(f"{sources[1]} and 1 more have changed since being augmented")
    cli(*command, "--dry-run").assert_mistake("have changed since being augmented")
    after = tree(tmp_path / "out")
    assert {name: what[1] for name, what in after.items()} == {
        name: what[1] for name, what in before.items()
    }


def test_a_password_in_the_output_is_refused(sources: list[Path], cli: Cli) -> None:
    said = cli("augment", *sources, "memory://me:hush@somewhere/out", *FAST)
    said.assert_mistake("may hold no password")
