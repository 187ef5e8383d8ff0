"""The layout of a pipeline's folder: which files affect its images, and checks of those files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from diffaug.errors import ConfigError

__all__ = [
    "LANGUAGE_MODEL",
    "PICKLES",
    "UNUSED",
    "check_file",
    "check_parts",
    "choose",
    "contents",
    "is_autoencoder",
    "is_flat",
    "is_variant",
    "kind_of",
    "parts",
    "pickle_error",
    "read_index",
]

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
"""The extensions of weights that diffaug never opens."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""The parts of a pipeline that diffaug does not use."""

LANGUAGE_MODEL = "MaskedLM"
"""What stands for the pipeline of a folder that holds a masked language model of transformers."""

_TOKENIZER = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
)
_WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor")
_LONGEST_HEADER = 100_000_000  # bytes; the safetensors library's own limit


def read_index(reference: str, folder: Path) -> dict[str, Any]:
    """A folder's `model_index.json`, or what stands for it where there is a language model.

    Raises:
        ConfigError: it is missing, or names no pipeline.
    """
    if (kind := _masked(folder)) is not None:
        return {"_class_name": LANGUAGE_MODEL, "model": ["transformers", kind]}
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = [path.name for path in folder.iterdir()]
        raise ConfigError(
            f"model {reference}: it is not a diffusers pipeline: it has no model_index.json"
            f"{_autoencoder(folder) or kind_of(names)}"
        ) from None
    except (OSError, ValueError):
        index = None
    if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
        raise ConfigError(
            f"model {reference}: {folder} has no readable model_index.json: give a folder written "
            "by a diffusers pipeline's save_pretrained"
        )
    return index


def _masked(folder: Path) -> str | None:
    """The class of the masked language model that a folder holds; None: it holds another thing."""
    if (folder / "model_index.json").exists():
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config["architectures"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return kind if kind.endswith("ForMaskedLM") else None


def _autoencoder(folder: Path) -> str:
    """What to do with a folder that holds an autoencoder alone; empty if it holds another thing."""
    try:
        kind = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not is_autoencoder(kind):
        return ""
    return (
        f". It is an autoencoder ({kind}): train a denoiser on its latents with `diffaug train "
        "--autoencoder`, and give the folder that this writes"
    )


def is_autoencoder(kind: str) -> bool:
    """Whether a network of the class that a config.json names is an autoencoder."""
    return "Autoencoder" in kind or kind == "TAEF2"


def kind_of(names: Iterable[str]) -> str:
    """A guess, by file names, at what a folder without a pipeline holds, and the cure."""
    tops = {name for name in names if "/" not in name}
    weights = [name for name in tops if name.endswith((".safetensors", *PICKLES))]
    if "adapter_config.json" in tops or any("lora" in name.lower() for name in weights):
        return ". It seems to be a LoRA: give it as the lora of the model it was trained on"
    if "config.json" in tops:
        return (
            ". It seems to be a single network, such as a transformers model or one part of a "
            "pipeline: give a folder written by a diffusers pipeline's save_pretrained"
        )
    if weights:
        return (
            ". It seems to be a single-file checkpoint: load it with a diffusers pipeline's "
            "from_single_file, write it with save_pretrained, and give that folder"
        )
    return ": give a folder written by a diffusers pipeline's save_pretrained"


def parts(index: dict[str, Any]) -> list[str]:
    """The components that an index names and diffaug uses; each is a folder, but see `is_flat`."""
    return [
        name
        for name, value in index.items()
        if name.isidentifier()  # a folder's name, not a path out of it
        and not name.startswith("_")
        and name not in UNUSED
        and isinstance(value, list)
        and len(value) == 2
        and all(isinstance(word, str) for word in value)  # [null, null] is an absent part
    ]


def is_flat(folder: Path, index: dict[str, Any]) -> bool:
    """Whether the parts lie directly in the folder, as in the oldest pipelines of one network."""
    return (folder / "config.json").is_file() and not any(
        (folder / part).exists() for part in parts(index)
    )


def is_variant(name: str) -> bool:
    """Whether a safetensors file or its index is a variant, such as `model.fp16.safetensors`."""
    return "." in name.removesuffix(".index.json").removesuffix(".safetensors")


def contents(folder: Path, index: dict[str, Any]) -> list[str]:
    """The files that enter the digest, relative to the folder: weights and their configurations."""
    found = sorted(folder.glob("*" if is_flat(folder, index) else "*/*"))
    named = [folder.name] if is_flat(folder, index) else parts(index)
    return [
        path.relative_to(folder).as_posix()
        for path in found
        if path.parent.name in named and _counts(path.name) and path.is_file()
    ]


def _counts(name: str) -> bool:
    if name.endswith((".safetensors", ".safetensors.index.json")):
        return not is_variant(name)
    return name.endswith(("config.json", ".model")) or name in _TOKENIZER


def check_parts(
    reference: str, folder: Path, index: dict[str, Any], elsewhere: Callable[[], Sequence[str]]
) -> None:
    """Refuse a pipeline's folder that lacks a part or a part's weights.

    Args:
        reference: the model, as the user wrote it.
        folder: the pipeline's folder.
        index: its `model_index.json`.
        elsewhere: returns the names of files that exist but were not fetched, so that the error
            can report in what form the weights exist; called only if something is missing.

    Raises:
        ConfigError: a part or its weights are missing; the text names them, and the cure.
    """
    flat = is_flat(folder, index)
    for part in parts(index):
        place = folder if flat else folder / part
        if not place.is_dir():
            raise ConfigError(
                f"model {reference}: it is incomplete: model_index.json names {part}, but there is "
                f"no folder {place}: copy or download the model again"
            )
        if index[part][1].endswith(_WITHOUT_WEIGHTS):
            continue
        names = {path.name for path in place.iterdir() if path.is_file()}
        if not any(name.endswith(".safetensors") and not is_variant(name) for name in names):
            prefix = "" if flat else f"{part}/"
            names |= {n.removeprefix(prefix) for n in elsewhere() if n.startswith(prefix)}
            raise ConfigError(f"model {reference}: {_why_no_weights(reference, part, names)}")
        for shard in _shards(reference, place):
            if shard not in names:
                raise ConfigError(
                    f"model {reference}: it is incomplete: {place} lacks {shard}, which the index "
                    "of its weights names: copy or download the model again"
                )


def _shards(reference: str, place: Path) -> list[str]:
    """The files named by a part's index of sharded weights."""
    shards: set[str] = set()
    for path in place.glob("*.safetensors.index.json"):
        if is_variant(path.name):
            continue
        try:
            shards |= set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"model {reference}: cannot read {path}: copy it again") from None
    return sorted(shards)


def _why_no_weights(reference: str, part: str, names: set[str]) -> str:
    variants = sorted(name for name in names if name.endswith(".safetensors"))
    if variants:
        variant = variants[0].split(".")[1].split("-")[0]
        return (
            f"its {part} exists only as the variant {variant} ({variants[0]}): save it without a "
            f'variant, DiffusionPipeline.from_pretrained("{reference}", variant="{variant}")'
            ".save_pretrained(folder), and give that folder"
        )
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles:
        return (
            f"its {part} has no safetensors weights, only a pickle ({pickles[0]}), which diffaug "
            "never opens: if you trust it, save it again with safe_serialization=True and give "
            "that folder, or give a revision that has safetensors"
        )
    return f"its {part} has no safetensors weights: copy or download the model again"


def choose(what: str, reference: str, names: Iterable[str], usual: str) -> str:
    """The safetensors file of a folder: the one with the usual name, or the only one.

    Raises:
        ConfigError: there is no such file, or several of which none has the usual name.
    """
    tops = sorted(name for name in names if "/" not in name)
    found = [name for name in tops if name.endswith(".safetensors")]
    if usual in found:
        return usual
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
        raise ConfigError(
            f"{what} {reference}: it holds {len(found)} safetensors files ({some}), and none of "
            f"them is named {usual}: give the path of the right one"
        )
    pickles = [name for name in tops if name.endswith(PICKLES)]
    if pickles:
        raise pickle_error(what, reference, pickles[0])
    raise ConfigError(f"{what} {reference}: there is no safetensors file in it: check the name")


def pickle_error(what: str, reference: str, name: str) -> ConfigError:
    """The error for an add-on that is a pickle."""
    return ConfigError(
        f"{what} {reference}: {name} is a pickle, which diffaug never opens: if you trust it, read "
        "it with torch.load and write its tensors with safetensors.torch.save_file"
    )


def check_file(what: str, reference: str, path: Path) -> list[str]:
    """Refuse a file that is not what its name promises; only its header is read.

    Args:
        what: the file's role, which begins the error's text.
        reference: what the user wrote.
        path: the file.

    Returns:
        The names of a safetensors file's tensors; empty for other files.

    Raises:
        ConfigError: it is a git-lfs pointer, or a safetensors file that is broken or cut short.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise ConfigError(
                f"{what} {reference}: {path} is a git-lfs pointer, not the file itself: run "
                "`git lfs install`, then `git lfs pull` in its clone"
            )
        if path.suffix != ".safetensors":
            return []
        broken = ConfigError(
            f"{what} {reference}: {path} is not a whole safetensors file: it is cut short or "
            "broken, so delete it and copy or download it again"
        )
        size = path.stat().st_size
        length = int.from_bytes(head[:8], "little")
        if len(head) < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise broken
        stream.seek(8)
        try:
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            ends = [tensor["data_offsets"][1] for tensor in header.values()]
            whole = 8 + length + max(ends, default=0) == size
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise broken from None
    if not whole:
        raise broken
    return list(header)
