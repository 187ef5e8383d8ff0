"""Networks saved by transformers: finding, digesting and loading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from diffaug.errors import ConfigError, require_extra
from diffaug.models import hub
from diffaug.models.layout import PICKLES, check_file, is_variant
from diffaug.models.quiet import quiet
from diffaug.storage import local_path

__all__ = ["config_of", "digest_folder", "find_folder", "load", "pictures_for"]

_CONFIGS = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt"),
)


_NARROW, _WIDE = 4, 16
"""Layers of fewer outputs than the first are given as many as the second."""


def find_folder(judge: str, reference: str, also: tuple[str, ...] = ()) -> Path:
    """The folder of a network: a local one, or org/name[@revision] on the hub.

    Args:
        judge: its name.
        reference: as the recipe has it.
        also: further files that are fetched from the hub, where they are there.

    Raises:
        ConfigError: there is no such folder, it has no safetensors, or a file is broken.
    """
    what = f"judge {judge}"
    folder = local_path(reference)
    if folder.is_dir():
        folder = folder.resolve()
    elif hub.is_hub_name(reference):
        folder = _fetch(what, reference, also)
    else:
        raise ConfigError(
            f"judges: {judge}={reference}: it is neither a folder saved by transformers, nor "
            "org/name[@revision] on the hub" + (", nor module:callable" * (judge == "label"))
        )
    weights = [path for path in _files(folder) if path.suffix == ".safetensors"]
    if not weights:
        pickled = any(path.suffix in PICKLES for path in folder.iterdir())
        raise ConfigError(
            f"judges: {judge}={reference}: {folder} has no safetensors weights"
            + (
                ", only a pickle, which diffaug never opens: save it again with save_pretrained"
                if pickled
                else ": give a folder written by a transformers model's save_pretrained"
            )
        )
    for path in weights:
        check_file(what, reference, path)
    return folder


@cache
def _fetch(what: str, reference: str, also: tuple[str, ...]) -> Path:
    """A snapshot of weights and configurations, all of one commit; fetched once a process."""
    folder = hub.fetch_file(what, reference, "model.safetensors").parent
    pinned = f"{reference.partition('@')[0]}@{folder.name}"
    there = hub.file_names(pinned)  # empty if the hub is out of reach: then the cache must do
    for name in (*_CONFIGS, *also):
        if name in there:
            hub.fetch_file(what, pinned, name)
    return folder


def _files(folder: Path, also: tuple[str, ...] = ()) -> list[Path]:
    """The files that determine a network's outputs, `also` among them where they are there."""
    weights = (
        path
        for pattern in ("*.safetensors", "*.safetensors.index.json")
        for path in folder.glob(pattern)
        if not is_variant(path.name)
    )
    return sorted(
        {*weights, *(folder / name for name in (*_CONFIGS, *also) if (folder / name).is_file())}
    )


def digest_folder(folder: Path, also: tuple[str, ...] = ()) -> str:
    """sha256, in hex, of the names and the content of weights, configurations and `also`."""
    found = [(path, path.stat()) for path in _files(folder, also)]
    return _digest(tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found))


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """The digest, computed once for files of these sizes and modification times."""
    total = hashlib.sha256()
    for path, *_ in files:
        with path.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.name} {own}\n".encode())
    return total.hexdigest()


def config_of(judge: str, reference: str, folder: Path) -> dict[str, Any]:
    """A network's config.json.

    Raises:
        ConfigError: it is missing or cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise ConfigError(
            f"judges: {judge}={reference}: {folder} has no readable config.json: give a folder "
            "written by a transformers model's save_pretrained"
        )
    return config


def load(judge: str, reference: str, folder: Path, kind: str, device: str, unused: str = "") -> Any:
    """Load a network with a class of transformers, in float32 and with all its weights.

    Args:
        judge: its name.
        reference: as the recipe has it.
        folder: where the network is.
        kind: the class.
        device: where it is to run.
        unused: what the names of weights begin with that may be missing, since nothing uses them.

    Raises:
        ConfigError: it cannot be loaded, or lacks weights, which transformers would initialise at
            random.
    """
    where = f"judges: {judge}={reference}"
    require_extra(where, "text", "transformers")
    import transformers

    config_of(judge, reference, folder)
    try:
        with quiet():
            network, loading = getattr(transformers, kind).from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises nearly anything on what it cannot read
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{where} cannot be loaded: {reason}") from error
    lacks = sorted(map(str, [*loading["missing_keys"], *loading["mismatched_keys"]]))
    lacks = [name for name in lacks if not unused or not name.startswith(unused)]
    if lacks:
        raise ConfigError(
            f"{where}: its weights do not fit its config.json: {len(lacks)} are missing or of "
            f"another shape, such as {lacks[0]}"
        )
    _widen(network)
    return network.eval().requires_grad_(False).to(device)


def _widen(network: nn.Module) -> None:
    """Give layers of very few outputs more of them, which are zero and dropped.

    A product of matrices with fewer than four columns sums each row in an order that depends on
    where in the batch it is.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer.out_features < _NARROW:
            more = _WIDE - layer.out_features
            layer.weight = nn.Parameter(nn.functional.pad(layer.weight, (0, 0, 0, more)))
            if layer.bias is not None:
                layer.bias = nn.Parameter(nn.functional.pad(layer.bias, (0, more)))
            layer.register_forward_hook(partial(_first, layer.out_features))


def _first(count: int, layer: nn.Module, given: Any, found: Tensor) -> Tensor:
    return found[..., :count]


def pictures_for(judge: str, reference: str, folder: Path) -> Callable[[Image.Image], Tensor]:
    """The network's own image processor, on Pillow, which turns a picture into float32 (3, H, W).

    Raises:
        ConfigError: it cannot be loaded.
    """
    import transformers

    kind: Any = transformers.AutoImageProcessor
    try:
        with quiet():
            processor = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="pil"
            )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"judges: {judge}={reference}: its image processor cannot be loaded: {reason}"
        ) from error

    def prepare(picture: Image.Image) -> Tensor:
        values: Tensor = processor(images=picture.convert("RGB"), return_tensors="pt")[
            "pixel_values"
        ]
        return values[0].float()

    return prepare
