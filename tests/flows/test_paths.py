"""Local paths in a flow's parameters: whole ones and URLs are taken, relative ones refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from diffaug import ConfigError, Recipe
from flows.paths import models_of, require_absolute, require_absolute_models


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("augmented", "augmented"),
        ("in/*.tar", "in/*.tar"),
        ("./in/s.tar", "in/s.tar"),
        ("../s.tar", "../s.tar"),
        ("in/{0..9}.tar", "in/0.tar"),
        ("{/data,in}/s.tar", "in/s.tar"),
        ("{/data/s.tar", "{/data/s.tar"),
        ("file:in/s.tar", "in/s.tar"),
        ("file://in/s.tar", "in/s.tar"),
        ("zip://a.tar::in/x.zip", "in/x.zip"),
        ("q::r.tar", "q::r.tar"),
        (" /data/s.tar", " /data/s.tar"),
    ],
)
def test_a_relative_path_is_refused_and_told_what_it_would_have_meant(
    url: str, meant: str, here: Path
) -> None:
    said = rf"^held_back: .* in this worker's folder it would be {re.escape(f'{here}/{meant}')}: g"
    for given in (url, ["/data/first.tar", url]):
        with pytest.raises(ConfigError, match=said):
            require_absolute(source="/data/s.tar", held_back=given)


@pytest.mark.parametrize(
    "url",
    [
        "/data/{00..11}.tar",
        "/data/q::r.tar",
        "{/data,/more}/s.tar",
        "~/data/s.tar",
        "file:/data/s.tar",
        "file:///data/s.tar",
        "memory://bucket/*.tar",
        "s3://bucket/in/s.tar",
        "https://host.invalid/s.tar",
        "zip://a.tar::/data/x.zip",
        "simplecache::memory://bucket/s.tar",
        "",
    ],
)
def test_whole_paths_and_urls_are_taken(url: str) -> None:
    require_absolute(source=url, output=[url])
    require_absolute(validation_source=None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": "mine"}, "model"),
        ({"model": "my/checkpoint"}, "model"),
        ({"model": "./no/such"}, "model"),
        ({"lora": "mine"}, "lora"),
        ({"autoencoder": "runs/a/vae"}, "autoencoder"),
        ({"embeddings": ("/data/one", "mine")}, "embeddings[1]"),
        ({"judges": ("label=mine",)}, "judge label"),
        ({"judges": ("phash", "clip=../clip")}, "judge clip"),
    ],
)
def test_a_relative_model_is_refused(fields: dict[str, object], name: str, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "my/checkpoint").mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"^{re.escape(name)}: .* it would be {here}/"):
        require_absolute_models(**models_of(Recipe(**fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "cifar10-32"},
        {"model": "org/name@main"},
        {"model": "~/mine"},
        {"model": "/data/mine", "lora": "org/name", "embeddings": ("/data/one",)},
        {"judges": ("phash", "label=package.module:callable", "clip=org/name")},
    ],
)
def test_names_of_models_and_whole_paths_are_taken(fields: dict[str, object], here: Path) -> None:
    (here / "cifar10-32").mkdir()
    require_absolute_models(init=None, **models_of(Recipe(**fields)))
