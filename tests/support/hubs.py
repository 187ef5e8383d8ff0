"""A hub that speaks the hub's HTTP, files of models to put on it, and how one is refused."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http as hub_http
from safetensors.numpy import save

from diffaug.errors import ConfigError
from diffaug.models import find_checkpoint, hub
from diffaug.models.checkpoint import Addons

COMMIT, OLDER = "a" * 40, "b" * 40
UNET = "unet/diffusion_pytorch_model.safetensors"

Files = dict[str, bytes]


def weights(value: float = 0.0, name: str = "weight") -> bytes:
    return save({name: np.full(4, value, np.float32)})


def text(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def small(value: float = 0.0) -> Files:
    """A pixel model's files, with weights that nobody loads here."""
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    return {
        "README.md": b"# Small",
        "model_index.json": text(index),
        "scheduler/scheduler_config.json": text({"of": "scheduler/scheduler_config.json"}),
        "unet/config.json": text({"of": "unet/config.json"}),
        UNET: weights(value),
    }


def large() -> Files:
    """A text model's files, with much beside them that is not to be fetched."""
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "requires_safety_checker": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": [None, None],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    shards["weight_map"]["b"] = "model-00002-of-00002.safetensors"
    return {
        "model_index.json": text(index),
        "README.md": b"# Large",
        "scheduler/scheduler_config.json": text({"of": "scheduler/scheduler_config.json"}),
        "text_encoder/config.json": text({"of": "text_encoder/config.json"}),
        "text_encoder/model.safetensors.index.json": text(shards),
        "text_encoder/model-00001-of-00002.safetensors": weights(1),
        "text_encoder/model-00002-of-00002.safetensors": weights(2),
        "tokenizer/merges.txt": b"a b",
        "tokenizer/vocab.json": text({"of": "tokenizer/vocab.json"}),
        "tokenizer/tokenizer_config.json": text({"of": "tokenizer/tokenizer_config.json"}),
        "unet/config.json": text({"of": "unet/config.json"}),
        UNET: weights(3),
        "vae/config.json": text({"_class_name": "AutoencoderKL"}),
        "vae/diffusion_pytorch_model.safetensors": weights(4),
    }


BESIDE = {
    "config.json": b"{}",
    "diffusion_pytorch_model.safetensors": b"other",
    "single.safetensors": b"whole",
    "feature_extractor/preprocessor_config.json": b"{}",
    "image_encoder/model.safetensors": b"big",
    "safety_checker/config.json": b"{}",
    "safety_checker/model.safetensors": b"big",
    "text_encoder/model.fp16-00001-of-00001.safetensors": b"half",
    "text_encoder/pytorch_model.bin": b"pickle",
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"half",
    "unet/diffusion_pytorch_model.non_ema.safetensors": b"other",
    "unet/model.onnx": b"onnx",
    "vae_1_0/diffusion_pytorch_model.safetensors": b"other",
}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def refusal(reference: str | Path, addons: Addons | None = None) -> str:
    """The sentence of a refusal; it names what was asked for."""
    with pytest.raises(ConfigError) as caught:
        find_checkpoint(str(reference), addons)
    sentence = str(caught.value)
    asked = [str(reference)]
    if addons:
        asked = [one for one in (addons.lora, addons.autoencoder, *addons.embeddings) if one]
    assert any(one in sentence for one in asked)
    assert "\n" not in sentence
    return sentence


class Hub(ThreadingHTTPServer):
    """What of the hub's HTTP its client uses: heads, files, trees, and its own error headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.repositories: dict[str, dict[str, Files]] = {}
        self.refusals: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[str] = []
        self.cut = False
        self.main = COMMIT
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, name: str, files: Files, commit: str = COMMIT) -> None:
        self.repositories.setdefault(name, {})[commit] = files

    def sent(self) -> set[str]:
        """The files whose bytes were asked for."""
        files = (line.split("/resolve/")[1] for line in self.asked if line.startswith("GET /"))
        return {line.split("/", 1)[1] for line in files}

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(self.path.partition("?")[0]).removeprefix("/api/models")
        org, repository, verb, *rest = [*path.removeprefix("/").split("/"), "", "", ""]
        name = f"{org}/{repository}"
        if verb == "resolve":
            self.server.asked.append(f"{self.command} {path}")
        if name in self.server.refusals:
            return self._send(*self.server.refusals[name])
        commits = self.server.repositories.get(name)
        if commits is None:
            return self._send(401, {"X-Error-Code": "RepoNotFound"})
        commit = self.server.main if rest[0] == "main" else rest[0]
        files = commits.get(commit)
        if files is None:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        if verb == "revision":
            return self._send(200, {}, text({"id": name, "sha": commit}))
        if verb == "tree":
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": _etag(content)}
                for file, content in files.items()
            ]
            return self._send(200, {}, json.dumps(tree).encode())
        found = files.get("/".join(rest[1:]).rstrip("/"))
        head = {"X-Repo-Commit": commit}
        if found is None:
            return self._send(404, {"X-Error-Code": "EntryNotFound", **head})
        return self._send(200, {"ETag": f'"{_etag(found)}"', **head}, found)

    def _send(self, status: int, head: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**head, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if self.server.cut else body)
            self.close_connection = True


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def forget() -> None:
    for fetch in (hub.fetch_pipeline, hub.fetch_file, hub.fetch_autoencoder):
        fetch.cache_clear()
    hub_http.close_session()


def _use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between attempts


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A hub that the client reaches, with a cache of its own."""
    server = Hub()
    _use(monkeypatch, server.url, cache)
    forget()
    try:
        yield server
    finally:
        forget()
        server.close()
