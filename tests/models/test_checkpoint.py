"""Models found on a hub and in folders: what is fetched, what counts, and every refusal."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from diffaug.models import find_checkpoint
from diffaug.models.checkpoint import Checkpoint
from tests.support.hubs import (
    BESIDE,
    COMMIT,
    OLDER,
    UNET,
    Files,
    Hub,
    forget,
    large,
    refusal,
    serving,
    small,
    text,
    weights,
    write,
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "cache") as server:
        yield server


def test_a_pipeline_on_the_hub_is_that_of_a_folder(server: Hub, tmp_path: Path) -> None:
    server.add("org/large", large() | BESIDE)
    found = find_checkpoint("org/large")
    assert (found.reference, found.revision, found.folder.name) == ("org/large", COMMIT, COMMIT)
    assert found.pipeline == found.index["_class_name"] == "StableDiffusionXLPipeline"
    assert found.digest == find_checkpoint(str(write(tmp_path / "own", large()))).digest


def test_only_what_is_needed_is_fetched(server: Hub) -> None:
    server.add("org/large", large() | BESIDE)
    find_checkpoint("org/large")
    assert server.sent() == set(large())


def test_a_revision_is_that_revision(server: Hub) -> None:
    server.add("org/small", small(1))
    server.add("org/small", small(2), OLDER)
    newest, older = find_checkpoint("org/small"), find_checkpoint(f"org/small@{OLDER}")
    assert (newest.revision, older.revision) == (COMMIT, OLDER)
    assert newest.digest != older.digest
    assert (older.folder / UNET).read_bytes() == weights(2)


@pytest.mark.parametrize("reference", ["org/small", f"org/small@{COMMIT}"])
def test_the_cache_serves_when_the_hub_is_gone(server: Hub, reference: str) -> None:
    server.add("org/small", small())
    digest = find_checkpoint(reference).digest
    server.close()
    forget()
    again = find_checkpoint(reference)
    assert (again.revision, again.digest) == (COMMIT, digest)


@pytest.mark.parametrize("offline", [False, True])
def test_a_process_follows_the_environment(server: Hub, tmp_path: Path, offline: bool) -> None:
    """The same without a finger in the client: HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE."""
    server.add("org/small", small())
    code = "from diffaug.models import find_checkpoint as f; print(f('org/small').digest)"
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_CACHE", None)

    def run(offline: bool) -> subprocess.CompletedProcess[str]:
        env = environment | {"HF_HUB_OFFLINE": str(int(offline))}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)

    first = run(offline)
    if offline:
        assert "HF_HUB_OFFLINE is set" in first.stderr
        assert not server.asked
        return
    asked = len(server.asked)
    assert run(offline=True).stdout == first.stdout != ""
    assert len(server.asked) == asked


def test_the_oldest_pipelines_keep_their_network_at_the_top(server: Hub, tmp_path: Path) -> None:
    files = {name.removeprefix("unet/").removeprefix("scheduler/"): content for name, content in
             (small() | {"diffusion_pytorch_model.bin": b"pickle"}).items()}  # fmt: skip
    server.add("org/flat", files | {"images/a.png": b"png"})
    found = find_checkpoint("org/flat")
    assert found.part("unet") == found.part("scheduler") == found.folder
    assert [name for name, *_ in found.files] == [
        "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json",
    ]  # fmt: skip
    assert "images/a.png" not in server.sent()
    assert found.digest == find_checkpoint(str(write(tmp_path / "own", files))).digest
    normal = find_checkpoint(str(write(tmp_path / "normal", small())))
    assert normal.part("unet") == normal.folder / "unet"


# --- what a hub refuses


@pytest.mark.parametrize(
    ("status", "head", "sentence"),
    [
        (401, {"X-Error-Code": "RepoNotFound"}, "no such repository, or it is private"),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repository, or it is private"),
        (401, {"X-Error-Code": "GatedRepo"}, "gated it: accept its licence at"),
        (403, {"X-Error-Code": "GatedRepo"}, "hf auth login"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no revision v9"),
        (
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            "rejects the token",
        ),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, "has disabled it"),
        (403, {"X-Error-Message": "no"}, "forbids this token to read it"),
        (418, {}, "refused it (status 418)"),
        (429, {}, "too many requests"),
        (500, {}, "failed (status 500)"),
        (503, {}, "try again later"),
        (200, {}, "does not answer as a hub does: check HF_ENDPOINT"),
    ],
)
def test_what_the_hub_answers_is_a_sentence(
    server: Hub, status: int, head: dict[str, str], sentence: str
) -> None:
    server.refusals["org/small"] = (status, head)
    assert sentence in refusal("org/small@v9")


def test_a_refused_model_in_the_cache_is_still_served(server: Hub) -> None:
    server.add("org/small", small())
    find_checkpoint("org/small")
    server.refusals["org/small"] = (503, {})
    forget()
    assert find_checkpoint("org/small").revision == COMMIT


def test_a_repository_that_is_not_there(server: Hub) -> None:
    assert "no such repository" in refusal("org/nothing")
    server.add("org/small", small())
    assert "no revision v2" in refusal("org/small@v2")


def test_a_hub_out_of_reach(server: Hub) -> None:
    server.close()
    assert "cannot be reached" in refusal("org/small")


def test_offline_by_the_environment(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("org/small", small())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal("org/small")
    assert not server.asked


def test_offline_with_half_a_model_in_the_cache(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("org/small", small())
    (find_checkpoint("org/small").folder / UNET).unlink()
    forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "does not hold all of it" in refusal("org/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert find_checkpoint("org/small").revision == COMMIT


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space is left"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "cannot be used (Permission denied)"),
        # as the hub's client in Rust has it
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space is left"),
    ],
)
def test_a_cache_that_takes_nothing(
    server: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    server.add("org/small", small())
    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    said = refusal("org/small")
    assert sentence in said
    assert "HF_HOME" in said


def test_a_download_cut_off(server: Hub) -> None:
    server.add("org/small", small())
    server.cut = True
    assert "could not be fetched (" in refusal("org/small")
    server.cut = False
    assert find_checkpoint("org/small").revision == COMMIT


@pytest.mark.parametrize("reference", ["a/b--c", "org/small.git", "org/..x"])
def test_a_name_the_hub_cannot_have(server: Hub, reference: str) -> None:
    assert "not a valid name on the hub" in refusal(reference)


# --- what is no model, or not whole, on the hub and in a folder

KINDS: dict[str, tuple[Files, str]] = {
    "single file": ({"sd.safetensors": weights()}, "single-file checkpoint"),
    "transformers": ({"config.json": b"{}", "model.safetensors": weights()}, "single network"),
    "lora": ({"pytorch_lora_weights.safetensors": weights()}, "a LoRA: give it as the lora"),
    "adapter": ({"adapter_config.json": b"{}", "config.json": b"{}"}, "a LoRA"),
    "none": ({"README.md": b"# Hello"}, "save_pretrained"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_pipeline(server: Hub, tmp_path: Path, kind: str) -> None:
    files, sentence = KINDS[kind]
    server.add("org/other", files)
    for reference in ("org/other", str(write(tmp_path / "other", files))):
        said = refusal(reference)
        assert "not a diffusers pipeline" in said
        assert sentence in said


def without_weights(**beside: bytes) -> Files:
    files = {name: content for name, content in small().items() if name != UNET}
    return files | {f"unet/diffusion_pytorch_model.{end}": b"" for end in beside}


PARTIAL: dict[str, tuple[Files, str]] = {
    "pickle": (without_weights(bin=b""), "only a pickle (diffusion_pytorch_model.bin)"),
    "variant": (
        {**without_weights(bin=b""), UNET.replace("model.", "model.fp16."): weights()},
        "variant fp16 (diffusion_pytorch_model.fp16.safetensors): save it without a variant, "
        'DiffusionPipeline.from_pretrained("',
    ),
    "nothing": (without_weights(), "its unet has no safetensors weights: copy"),
    "no folder": (
        {name: content for name, content in small().items() if "unet/" not in name},
        "model_index.json names unet, but there is no folder",
    ),
    "no shard": (
        {name: content for name, content in large().items() if "00002-of" not in name},
        "lacks model-00002-of-00002.safetensors",
    ),
    "broken shards": (
        large() | {"text_encoder/model.safetensors.index.json": b"[]"},
        "cannot read",
    ),
    "git-lfs": (
        small() | {UNET: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"},
        "is a git-lfs pointer, not the file itself",
    ),
    "git-lfs tokenizer": (
        large() | {"tokenizer/vocab.json": b"version https://git-lfs.github.com/spec/v1\n"},
        "vocab.json is a git-lfs pointer",
    ),
    "empty": (small() | {UNET: b""}, "not a whole safetensors file"),
    "a page": (small() | {UNET: b"<!DOCTYPE html><html></html>"}, "not a whole safetensors file"),
    "cut short": (small() | {UNET: weights()[:-1]}, "not a whole safetensors file"),
    "no header": (small() | {UNET: b"\3" + b"\0" * 7 + b"abc"}, "not a whole safetensors file"),
    "a list": (small() | {"model_index.json": b"[]"}, "no readable model_index.json"),
    "not json": (small() | {"model_index.json": b"{"}, "no readable model_index.json"),
    "no class": (small() | {"model_index.json": b"{}"}, "no readable model_index.json"),
}


@pytest.mark.parametrize("kind", PARTIAL)
def test_what_is_not_whole(server: Hub, tmp_path: Path, kind: str) -> None:
    files, sentence = PARTIAL[kind]
    server.add("org/part", files)
    assert sentence in refusal("org/part")
    assert sentence in refusal(write(tmp_path / "part", files))


def test_a_part_left_out_is_not_missed(tmp_path: Path) -> None:
    files = large()
    assert "text_encoder_2" in json.loads(files["model_index.json"])
    assert find_checkpoint(str(write(tmp_path / "own", files))).pipeline


# --- digests


def test_the_shipped_digest_is_what_it_was() -> None:
    """Over `path sha256` lines of weights and configurations, as before other families came."""
    checkpoint = find_checkpoint("fashion-mnist-32")
    total = hashlib.sha256()
    for path in sorted(checkpoint.folder.glob("*/*")):
        own = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(checkpoint.folder).as_posix()} {own}\n".encode())
    assert checkpoint.digest == total.hexdigest()


@pytest.mark.parametrize("name", [name for name in large() if "/" in name])
def test_every_file_that_makes_images_counts(tmp_path: Path, name: str) -> None:
    changed = {
        "safetensors": weights(9),
        "index.json": large().get(name, b"") + b" ",
        "txt": b"b a",
    }
    new = next((new for end, new in changed.items() if name.endswith(end)), b'{"a": 1}')
    if name == "tokenizer/vocab.json":
        new = b'{"b": 1}'
    before = find_checkpoint(str(write(tmp_path / "own", large()))).digest
    after = find_checkpoint(str(write(tmp_path / "new", large() | {name: new}))).digest
    assert before != after


def index(**fields: Any) -> Files:
    return {"model_index.json": text(json.loads(large()["model_index.json"]) | fields)}


def test_what_makes_no_image_does_not_count(tmp_path: Path) -> None:
    own = find_checkpoint(str(write(tmp_path / "own", large()))).digest
    no_checker = index(
        safety_checker=[None, None], requires_safety_checker=False, _diffusers_version="9"
    )
    for n, more in enumerate((BESIDE, no_checker, {"README.md": b"new", "unet/notes.json": b"{}"})):
        assert find_checkpoint(str(write(tmp_path / str(n), large() | more))).digest == own
    zeros = large() | index(force_zeros_for_empty_prompt=False)
    assert find_checkpoint(str(write(tmp_path / "zeros", zeros))).digest != own


def test_a_name_in_the_index_leads_nowhere_else(tmp_path: Path) -> None:
    write(tmp_path / "secret", {"config.json": b"{}"})
    odd = index(**{"../secret": ["diffusers", "AutoencoderKL"]})
    found = find_checkpoint(str(write(tmp_path / "own", large() | odd)))
    assert not [name for name, *_ in found.files if ".." in name]


def test_a_checkpoint_made_as_before_is_still_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", small())
    assert Checkpoint(str(folder), folder, None, ()).pipeline == "DDPMPipeline"
