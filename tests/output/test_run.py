"""run.json: read back as it was written, refused when it is another kind, and run as planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffaug import ConfigError, augment_shards
from diffaug.execution import Execution
from diffaug.job.binding import Binding
from diffaug.output.run import Run, read_run
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import planned


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return planned([str(write_samples(tmp_path / "s.tar", fashion(1)))], tmp_path / "out")


def test_it_is_read_as_it_was_written(run: Run, tmp_path: Path) -> None:
    assert read_run(str(tmp_path / "out")) == run


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", '{"schema_version": 99}'])
def test_one_of_another_kind_is_refused(text: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out/run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"not a run\.json this diffaug reads"):
        planned([run.sources[0].url], tmp_path / "out")


def test_there_is_none_where_none_was_planned(tmp_path: Path) -> None:
    assert read_run(str(tmp_path)) is None
    assert read_run(str(tmp_path / "not/there")) is None
    assert read_run(f"memory://{tmp_path.name}") is None


def test_a_worker_with_other_weights_refuses(run: Run, tmp_path: Path) -> None:
    other = run.model.model_copy(update={"digest": "0" * 64})
    planned_with = run.model_copy(update={"model": other})
    with pytest.raises(ConfigError, match="weights of fashion-mnist-32 here"):
        list(augment_shards(run.sources, str(tmp_path / "out"), run=planned_with))


def test_a_device_that_is_not_here_is_refused(run: Run) -> None:
    elsewhere = Execution(device="cuda:99")
    with pytest.raises(ConfigError, match=r"cuda:99: this machine has \d+ CUDA devices"):
        Binding.of_run(run.model_copy(update={"execution": elsewhere})).editor()


def test_noise_of_another_version_is_refused_as_such(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"noise of run\.json was drawn by other/9, and this"):
        Binding.of_run(run.model_copy(update={"noise": "other/9"})).editor()


def test_a_changed_recipe_is_not_blamed_on_the_weights(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"recipe_digest of run\.json is 00000000…"):
        Binding.of_run(run.model_copy(update={"recipe_digest": "0" * 64})).editor()
