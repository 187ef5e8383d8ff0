"""A training that was stopped or killed continues, bit for bit, as if it had not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from diffusers import DDPMPipeline

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.train.loop import train
from tests.conftest import SHARDS
from tests.support.forks import Forks
from tests.support.training import WEIGHTS, events, run, same, state, tiny, two_shards


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return two_shards(tmp_path)


def test_a_stopped_training_goes_on_as_if_it_had_not(source: list[str], tmp_path: Path) -> None:
    recipe = tiny(steps=12, classes=10, network={"preset": "tiny", "dropout": 0.2})
    straight = run(source, tmp_path / "straight", recipe)
    first = train(
        source, tmp_path / "halves", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    begun = list(islice(first, 7))
    first.close()  # type: ignore[attr-defined]
    rest = run(source, tmp_path / "halves", recipe, resume=True)
    assert [step.step for step in begun + rest] == list(range(1, 13))
    assert [step.loss for step in begun + rest] == [step.loss for step in straight]
    same(tmp_path / "straight", tmp_path / "halves")
    assert run(source, tmp_path / "halves", recipe, resume=True) == []


def test_a_training_goes_on_however_its_shards_are_spelled(
    source: list[str], tmp_path: Path
) -> None:
    """Here by links that sort the other way round."""
    links = []
    for name, shard in zip(("b", "a"), source, strict=True):
        links.append(str(tmp_path / f"{name}.tar"))
        Path(links[-1]).symlink_to(shard)
    recipe = tiny(steps=6)
    straight = run(source, tmp_path / "straight", recipe)
    first = train(source, tmp_path / "halves", recipe, dtype="float32", checkpoint_minutes=1e-9)
    begun = list(islice(first, 3))
    first.close()  # type: ignore[attr-defined]
    rest = run(links, f"file://{tmp_path}/halves", recipe, resume=True)
    assert [step.loss for step in begun + rest] == [step.loss for step in straight]
    assert (tmp_path / "halves" / WEIGHTS).is_file()
    with pytest.raises(ConfigError, match="training on other shards"):
        run(source[:1], tmp_path / "halves", recipe, resume=True)


@pytest.mark.process
@pytest.mark.proof
def test_two_hundred_steps_are_a_hundred_a_kill_and_a_hundred(
    tmp_path: Path, forked: Forks
) -> None:
    """The command itself, killed without warning somewhere past its hundredth step."""
    sources, flags = (
        list(map(str, SHARDS)),
        [
            *("--network", "tiny", "--size", "16", "--steps", "200", "--batch-size", "8"),
            *("--classes", "10", "--shuffle", "50", "--preview-steps", "150"),
            *("--checkpoint-minutes", "0.01", "--dtype", "float32"),
        ],
    )
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    command = [sys.executable, "-m", "diffaug", "train", *sources, str(killed), *flags]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # as the other has it
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=alone)
    other = forked.start("train", *sources, straight, *flags)
    deadline = time.monotonic() + 480
    while not (killed / "training/state.pt").exists() or state(killed)["trainer"]["step"] < 100:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stood = state(killed)["trainer"]["step"]
    assert 100 <= stood < 200
    resumed = forked("train", *sources, killed, *flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert other.wait() == 0, other.err
    same(straight, killed)
    assert not list(killed.rglob(".*"))
    steps = [event.step for event in events(killed).Scalars("loss")]
    assert steps == list(range(1, 201))


@pytest.mark.numerics
def test_a_kill_within_the_last_save_is_made_good(
    source: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any file, between the model's, and between them and the state that comes last."""
    run(source, tmp_path / "whole", tiny())
    publish = storage.publish
    for files in (0, 3, 6):
        folder, left = tmp_path / f"killed-{files}", [files]

        def until_killed(local: Path, url: str, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            publish(local, url)

        monkeypatch.setattr(storage, "publish", until_killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, folder, tiny())
        monkeypatch.setattr(storage, "publish", publish)
        run(source, folder, tiny(), resume=True)
        same(tmp_path / "whole", folder)
        assert DDPMPipeline.from_pretrained(folder)


@pytest.mark.numerics
def test_a_training_keeps_its_dtype(source: list[str], tmp_path: Path) -> None:
    first = train(source, tmp_path / "c", tiny(), dtype="float32", checkpoint_minutes=1e-9)
    next(first)
    first.close()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="holds a training in float32"):
        train(source, tmp_path / "c", tiny(), dtype="bfloat16", resume=True)
    list(train(source, tmp_path / "c", tiny(), resume=True))
    run(source, tmp_path / "straight", tiny())
    same(tmp_path / "straight", tmp_path / "c")


def test_the_folder_is_refused_before_the_source_is_read(source: list[str], tmp_path: Path) -> None:
    """And for what it holds, not for what the new recipe would lack there."""
    run(source, tmp_path / "c", tiny())
    autoencoder, other = tmp_path / "a", tmp_path / "other"
    run(source, autoencoder, tiny(kind="autoencoder", size=16, steps=1))
    other.mkdir()
    (other / "note.txt").write_text("mine")
    for shard in source:
        Path(shard).write_bytes(b"no tar")
    open_sizes = {"size": None, "channels": None}
    for folder, recipe, resume, says in (
        ("c", tiny(autoencoder=str(autoencoder)), True, "recipe: autoencoder is None there"),
        ("c", tiny(autoencoder="nowhere"), False, "recipe: autoencoder is None there"),
        ("c", tiny(**open_sizes), False, "continue it with --resume"),
        ("c", tiny(**open_sizes, seed=1), True, "seed is 0 there and 1 here"),
        ("other", tiny(autoencoder=str(autoencoder), size=16), False, "not empty and holds no tr"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(source, tmp_path / folder, recipe, resume=resume)


def test_a_training_is_not_mixed_with_another(source: list[str], tmp_path: Path) -> None:
    run(source, tmp_path / "c", tiny())
    with pytest.raises(ConfigError, match="continue it with --resume"):
        run(source, tmp_path / "c", tiny())
    with pytest.raises(ConfigError, match="training on other shards"):
        run(source[:1], tmp_path / "c", tiny(), resume=True)
    with pytest.raises(ConfigError, match=r"learning_rate is 0.001 there and 0.002 here"):
        run(source, tmp_path / "c", tiny(learning_rate=2e-3), resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match="not empty and holds no training"):
        run(source, other, tiny())
