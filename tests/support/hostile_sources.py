"""Sources, outputs and models that must not be used as they are named: refused, in a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import diffaug
from diffaug.models.card import SHIPPED
from tests.conftest import SHARDS
from tests.support.hostile_names import PICKLE

WITNESS = "run-by-a-source"


def _plan(source: str = str(SHARDS[0]), model: str = "fashion-mnist-32") -> None:
    diffaug.plan_run([source], "out", diffaug.Recipe(model=model))


def pipe() -> None:
    """`pipe:touch …` as a source, which webdataset would run in a shell"""
    _plan(source=f"pipe:touch {WITNESS}")


def pipe_in_braces() -> None:
    """the same, hidden in braces"""
    _plan(source=f"{{pipe,file}}:touch {WITNESS}")


def pickled_weights() -> None:
    """a model whose weights are a pickle (.bin)"""
    names = ("unet/config.json", "scheduler/scheduler_config.json")
    configs = {name: (SHIPPED / "fashion-mnist-32" / name).read_bytes() for name in names}
    _model("DDPMPipeline", {**configs, "unet/diffusion_pytorch_model.bin": PICKLE})
    _plan(model="model")


def pipeline_of_its_own() -> None:
    """a model that names a pipeline class of its own, with the Python for it next to it"""
    code = f"open({WITNESS!r}, 'w')".encode()
    weights = next(SHIPPED.glob("fashion-mnist-32/unet/*.safetensors")).read_bytes()
    _model("MyPipeline", {"pipeline.py": code, "unet/model.safetensors": weights})
    _plan(model="model")


def _model(pipeline: str, files: dict[str, bytes]) -> None:
    index = json.dumps({"_class_name": pipeline}).encode()
    for name, data in {"model_index.json": index, **files}.items():
        path = Path("model", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def undecodable() -> None:
    """a shard whose name is not UTF-8, among others in a glob"""
    for name in (b"s.tar", b"s\xff.tar"):
        Path(os.fsdecode(name)).write_bytes(SHARDS[0].read_bytes())
    _plan(source="s*.tar")


def blank() -> None:
    """a blank source, as an unset variable gives"""
    _plan(source=" ")


def blank_output() -> None:
    """an empty output, which would be the root of the disk"""
    diffaug.plan_run([str(SHARDS[0])], "", diffaug.Recipe())


def no_bucket() -> None:
    """an S3 URL whose bucket is missing"""
    _plan(source="s3:///in/*.tar")


def own_output() -> None:
    """the tars that the job itself wrote"""
    Path("out/shards").mkdir(parents=True)
    shutil.copy(SHARDS[0], "out/shards/made-01234567.tar")
    _plan(source="out/shards/*.tar")


REFUSED: dict[str, Callable[[], None]] = {
    ask.__name__: ask
    for ask in (
        *(pipe, pipe_in_braces, undecodable, pickled_weights, pipeline_of_its_own),
        *(blank, blank_output, no_bucket, own_output),
    )
}


def refusal(name: str) -> tuple[str, str]:
    """What one of these is, and what is said to it, in a folder that must stay as it was."""
    ask = REFUSED[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        with pytest.raises(diffaug.ConfigError) as refused:
            ask()
        assert not Path(WITNESS).exists()
        said = str(refused.value).replace(str(Path.cwd()), "…")
    assert ask.__doc__, name
    return ask.__doc__, said
