"""Disks that fill, outputs that cannot be written, sources that change: told, and nothing lost."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, tars, tree

FAST = ("--sampler=one-step", "--batch-size=8")
DIFFAUG = shlex.quote(str(Path(sys.executable).with_name("diffaug")))


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return [write_samples(tmp_path / f"in/s{n}.tar", fashion(30, 30 * n)) for n in range(3)]


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Callable[[str], str]:
    """Run a shell script with a disk of its own of 400 kB at `tmp_path/out`; what it printed."""
    (tmp_path / "out").mkdir()
    mount = f"mount -t tmpfs -o size=400k tmpfs {tmp_path}/out"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this system lets no user mount a disk of their own (unshare -rm)")

    def run(script: str) -> str:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", f"{mount}\n{script}"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.process
@pytest.mark.usefixtures("sources")
def test_a_full_disk_is_said_and_the_job_goes_on_when_there_is_room(
    tmp_path: Path, on_small_disk: Callable[[str], str]
) -> None:
    augment = f"{DIFFAUG} augment 'in/*.tar' out {' '.join(FAST)}"
    said = on_small_disk(f"""
        {augment}; echo "code $?"
        ls -A out out/manifest
        mount -o remount,size=20M out
        {DIFFAUG} verify out | tail -1
        {augment}; echo "code $?"
        {DIFFAUG} verify out; cp -r out copy
    """)
    assert "diffaug: storage failed: [Errno 28] " in said
    assert "No space left on device. What was committed stays; run it again" in said
    assert said.index("code 1") < said.index("s0.parquet") < said.index("code 0")
    first, _, _ = said.partition("code 0")
    assert ".diffaug-" not in first.partition("code 1")[2]
    assert "3 shards checked, 0 differences" in said
    augmented([tmp_path / "in/*.tar"], tmp_path / "calm")
    assert tars(tmp_path / "copy") == tars(tmp_path / "calm")


@pytest.mark.process
@pytest.mark.usefixtures("sources")
def test_an_output_that_turned_read_only_is_said(on_small_disk: Callable[[str], str]) -> None:
    said = on_small_disk(f"""
        {DIFFAUG} augment in/s0.tar out {" ".join(FAST)}; echo "code $?"
        mount -o remount,ro out
        {DIFFAUG} augment 'in/*.tar' out {" ".join(FAST)}; echo "code $?"
        {DIFFAUG} verify out
    """)
    assert said.index("code 0") < said.index("code 2")
    assert "cannot write to out: Read-only file system: choose an OUTPUT that can be" in said
    assert "1 shards checked, 0 differences" in said


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
