"""What a job will do: frozen once, grown by new sources, refused when anything else differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import diffaug
from diffaug.job.plan import freeze, plan_run
from diffaug.models.card import SHIPPED
from diffaug.output.run import Run, read_run
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import BATCH, GREY, augmented, planned, tree

BASE: dict[str, Any] = {"model": GREY, "strength": 0.4, "steps": 5, "sampler": "one-step"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("in")
    return [str(write_samples(folder / f"{name}.tar", fashion(1))) for name in ("a", "b", "c")]


def _plan(sources: list[str], output: Path, **fields: Any) -> Run:
    batch_size, dtype = fields.pop("batch_size", BATCH), fields.pop("dtype", None)
    recipe = diffaug.Recipe(**(BASE | fields))
    return plan_run(sources, str(output), recipe, batch_size=batch_size, dtype=dtype)


def _stems(run: Run) -> dict[str, str]:
    return {shard.url: shard.stem for shard in run.sources}


def test_planning_writes_nothing(sources: list[str], tmp_path: Path) -> None:
    _plan(sources, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_run_json_says_what_will_be_done(sources: list[str], tmp_path: Path) -> None:
    run = planned(sources, tmp_path, seed=3, copies=2)
    said = json.loads((tmp_path / "run.json").read_text())
    assert diffaug.Recipe(**said["recipe"]) == run.recipe
    assert said["recipe"]["seed"] == 3
    assert said["execution"]["batch_size"] == BATCH
    assert said["model"]["name"] == GREY
    assert len(said["model"]["digest"]) == len(said["recipe_digest"]) == 64
    assert [source["url"] for source in said["sources"]] == sources
    assert said["versions"]["torch"] == torch.__version__
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert read_run(str(tmp_path)) == run


def test_freezing_the_same_plan_again_changes_nothing(sources: list[str], tmp_path: Path) -> None:
    planned(sources, tmp_path)
    before = tree(tmp_path)
    planned(sources, tmp_path)
    planned(sources[1:], tmp_path)
    assert tree(tmp_path) == before


def test_a_job_of_the_first_version_goes_on(sources: list[str], tmp_path: Path) -> None:
    """It read the images of fewer extensions by default."""
    planned(sources[:1], tmp_path)
    run = tmp_path / "run.json"
    said = json.loads(run.read_text())
    assert len(said["recipe"]["image_key"]) > 10
    del said["recipe"]["image_key"][10:]
    run.write_text(json.dumps(said))
    assert len(planned(sources, tmp_path).sources) == 3


def test_a_plan_grows_by_new_sources(sources: list[str], tmp_path: Path) -> None:
    planned(sources[:1], tmp_path)
    run = planned(sources[1:], tmp_path)
    assert list(_stems(run)) == sources
    assert read_run(str(tmp_path)) == run


def test_two_jobs_planned_at_once_keep_both_sources(sources: list[str], tmp_path: Path) -> None:
    first, second = _plan(sources[:2], tmp_path), _plan(sources[1:], tmp_path)
    freeze(first, str(tmp_path))
    assert list(_stems(freeze(second, str(tmp_path)))) == sources


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strength": 0.5}, r"strength \(0\.4 there, 0\.5 asked\)"),
        ({"strength": "0.2,0.4"}, r"strength \(0\.4 there, 0\.2,0\.4 asked\)"),
        ({"steps": 6}, r"steps \(5 there, 6 asked\)"),
        ({"sampler": "ddim"}, r"sampler \(one-step there, ddim asked\)"),
        ({"copies": 2}, r"copies \(1 there, 2 asked\)"),
        ({"seed": 9}, r"seed \(0 there, 9 asked\)"),
        ({"condition": "label"}, r"condition \(none there, label asked\)"),
        ({"fit": "resize"}, r"fit \(auto there, resize asked\)"),
        ({"format": "webp"}, r"format \(auto there, webp asked\)"),
        ({"carry": "txt"}, r"carry \( there, txt asked\)"),
        ({"batch_size": 16}, r"batch_size \(8 there, 16 asked\)"),
        ({"seed": 1, "steps": 7}, r"steps .*, seed "),
    ],
)
def test_another_recipe_is_refused_by_field(
    change: dict[str, Any], said: str, sources: list[str], tmp_path: Path
) -> None:
    planned(sources, tmp_path, **BASE)
    before = tree(tmp_path)
    with pytest.raises(diffaug.ConfigError, match=said) as refused:
        _plan(sources, tmp_path, **change)
    assert "Choose a new OUTPUT" in str(refused.value)
    assert tree(tmp_path) == before


def test_another_dtype_is_refused(sources: list[str], tmp_path: Path) -> None:
    run = planned(sources, tmp_path, **BASE)
    other = "float32" if run.execution.dtype == "bfloat16" else "bfloat16"
    with pytest.raises(diffaug.ConfigError, match=rf"dtype \(.* there, {other} asked\)"):
        _plan(sources, tmp_path, dtype=other)


def test_an_execution_not_asked_for_is_the_one_begun_with(
    sources: list[str], tmp_path: Path
) -> None:
    planned(sources, tmp_path, **BASE)
    again = plan_run(sources, str(tmp_path), diffaug.Recipe(**BASE))
    assert again.execution.batch_size == BATCH


def _edit_run(output: Path, **fields: Any) -> None:
    path = output / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"device_class": "cuda/H100"}, r"device class \(cuda/H100 there, cpu/.* here\)"),
        ({"versions": {"torch": "1.13.1", "pillow": "13.9"}}, r"torch \(1 there, 2 here\)\. "),
        ({"versions": {"diffusers": "0.1.0"}}, r"diffusers \(0\.1 there, 0\.\d+ here\)"),
    ],
)
def test_a_job_begun_elsewhere_is_refused_unless_allowed(
    fields: dict[str, Any], said: str, sources: list[str], tmp_path: Path
) -> None:
    planned(sources, tmp_path, **BASE)
    _edit_run(tmp_path, **fields)
    with pytest.raises(diffaug.ConfigError, match=said):
        _plan(sources, tmp_path)
    run = plan_run(sources, str(tmp_path), diffaug.Recipe(**BASE), allow_mixed=True)
    list(diffaug.augment_shards(run.sources, str(tmp_path), run=run))
    rows = pd.read_parquet(tmp_path / "manifest")
    assert set(rows["device"].str.partition("/")[0]) == {"cpu"}
    assert set(rows["torch_version"]) == {torch.__version__}


def test_other_weights_under_the_same_name_are_refused(sources: list[str], tmp_path: Path) -> None:
    planned(sources, tmp_path, **BASE)
    begun = json.loads((tmp_path / "run.json").read_text())
    _edit_run(tmp_path, model=begun["model"] | {"digest": "0" * 64})
    with pytest.raises(diffaug.ConfigError, match=r"weights of fashion-mnist-32 \(00000000 there"):
        _plan(sources, tmp_path)


def test_a_model_folder_is_found_from_any_folder(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED / GREY, tmp_path / "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = planned(sources[:1], tmp_path / "out", **BASE | {"model": "mine"})
    monkeypatch.chdir(tmp_path / "elsewhere")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out")))
    rows = pd.read_parquet(tmp_path / "out/manifest")
    assert set(rows["model"]) == {str(tmp_path / "mine")}
    for again in ("../mine", str(tmp_path / "mine")):
        assert _plan(sources[:1], tmp_path / "out", model=again) == run


# --- stems


def _twins(folder: Path) -> list[str]:
    """Three sources of one base name, and one of its own."""
    names = ["x/s.tar", "y/s.tar", "z/s.tar.gz", "z/t.tar"]
    return [str(write_samples(folder / name, fashion(1))) for name in names]


def test_sources_that_share_a_name_get_stems_of_their_own(tmp_path: Path) -> None:
    twins = _twins(tmp_path)
    stems = _stems(_plan(twins, tmp_path / "out"))
    assert len(set(stems.values())) == 4
    assert all(stem.startswith("s-") for url, stem in stems.items() if url != twins[3])
    assert stems[twins[3]] == "t"


def test_stems_do_not_depend_on_the_order(tmp_path: Path) -> None:
    twins = _twins(tmp_path)
    assert _stems(_plan(twins, tmp_path / "out")) == _stems(_plan(twins[::-1], tmp_path / "out"))


def test_a_stem_once_given_stays(tmp_path: Path) -> None:
    twins = _twins(tmp_path)
    first = planned(twins[:1], tmp_path / "out")
    later = planned(twins, tmp_path / "out")
    assert _stems(first).items() <= _stems(later).items()
    assert len(set(_stems(later).values())) == 4


def test_sources_that_share_a_name_are_all_done(tmp_path: Path) -> None:
    sources = [str(write_samples(tmp_path / f"{n}/s.tar", fashion(2, 2 * n))) for n in range(2)]
    rows = augmented(sources, tmp_path / "out")
    assert set(rows["source_shard"]) == set(sources)
    assert rows["output_shard"].nunique() == 2
    assert len(rows) == 4


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@host.invalid/a.tar",
        "https://host.invalid/a.tar?token=secret",
        "simplecache::https://me:secret@host.invalid/a.tar",
    ],
)
def test_a_secret_in_a_source_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(diffaug.ConfigError) as refused:
        _plan([url], tmp_path / "out")
    assert "secret" not in str(refused.value)
