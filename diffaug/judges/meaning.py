"""The meaning judge: how similar a sentence encoder finds a text and what was made of it.

A sentence encoder is a network of transformers whose features are pooled to one vector: their mean
over the text's tokens, or the first of them (Reimers & Gurevych 2019,
https://arxiv.org/abs/1908.10084). Folders of sentence-transformers state which in
`1_Pooling/config.json`; without that file it is the mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.judges.candidate import Candidate, Scores
from diffaug.judges.clip import cosine
from diffaug.judges.pretrained import digest_folder, find_folder, load
from diffaug.judges.text import Bodies, TextNetwork, text_network

__all__ = ["MeaningJudge", "load_meaning_judge", "meaning_digest"]

_POOLING, _LIMITS, _MODULES = "1_Pooling/config.json", "sentence_bert_config.json", "modules.json"
_ALSO = (_POOLING, _LIMITS, _MODULES)
"""What sentence-transformers adds to a folder of transformers."""

_READ = ("Transformer", "Pooling", "Normalize")
"""The modules of sentence-transformers that are read; the last changes no cosine."""


class MeaningJudge:
    """The cosine, in [-1, 1], of the embeddings of source and result.

    Args:
        encoder: returns a text's embedding.
    """

    def __init__(self, encoder: TextNetwork) -> None:
        self._encoder = encoder
        self.rows = max(1, encoder.rows // 2)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The score of each; a source that several share is encoded once."""
        texts = {x.text: x for one in candidates for x in (one.source, one.output)}
        embedded = dict(zip(texts, self._encoder([*texts.values()]), strict=True))
        return [
            {"score_meaning": _bounded(embedded[one.source.text], embedded[one.output.text])}
            for one in candidates
        ]


def _bounded(one: Any, other: Any) -> float | None:
    """The cosine without what rounding leaves beyond its bounds."""
    found = cosine(one, other)
    return None if found is None else float(np.clip(found, -1, 1))


def meaning_digest(reference: str) -> str:
    """The digest of a sentence encoder, in hex.

    Raises:
        ConfigError: there is no such encoder.
    """
    return digest_folder(find_folder("meaning", reference, _ALSO), _ALSO)


def load_meaning_judge(reference: str, execution: Execution) -> MeaningJudge:
    """Load a sentence encoder.

    Raises:
        ConfigError: there is no such encoder, or it pools otherwise than is known here.
    """
    where, folder = f"judges: meaning={reference}", find_folder("meaning", reference, _ALSO)
    _refuse_modules(where, folder)
    mean = _pools_mean(where, folder)
    limits = _read(where, folder, _LIMITS, {})
    if limits.get("do_lower_case"):
        raise ConfigError(
            f"{where}: {_LIMITS} asks for do_lower_case, which is left to the tokenizer here"
        )
    model = load("meaning", reference, folder, "AutoModel", execution.device, unused="pooler.")
    if model.config.is_encoder_decoder:
        raise ConfigError(f"{where}: it has a decoder, and a sentence encoder is required")
    return MeaningJudge(
        text_network(
            "meaning",
            reference,
            folder,
            model,
            _pooled(model, mean),
            execution,
            limits.get("max_seq_length"),
        )
    )


def _pooled(model: Any, mean: bool) -> Bodies:
    def embed(tokens: Tensor, attended: Tensor) -> Tensor:
        features: Tensor = model(input_ids=tokens, attention_mask=attended)[0]
        if not mean:
            return features[:, 0]
        weights = attended[:, :, None].to(features.dtype)
        return (features * weights).sum(1) / weights.sum(1)

    return embed


def _pools_mean(where: str, folder: Path) -> bool:
    """Whether features are averaged; else the first is taken."""
    config = _read(where, folder, _POOLING, {"pooling_mode": "mean"})
    named = config.get("pooling_mode")
    modes = {
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, on in config.items()
        if on is True and name.startswith("pooling_mode_")
    } or {str(named)}
    if modes not in ({"mean"}, {"cls"}):
        asked = ", ".join(sorted(modes))
        raise ConfigError(f"{where}: {_POOLING} asks for {asked}, and mean or cls is read here")
    return modes == {"mean"}


def _refuse_modules(where: str, folder: Path) -> None:
    for module in _read(where, folder, _MODULES, []):
        name = str(module.get("type")).rpartition(".")[2]
        if name not in _READ:
            raise ConfigError(
                f"{where}: {_MODULES} names a module {name}, and those that are read here are "
                f"{', '.join(_READ)}"
            )


def _read(where: str, folder: Path, name: str, otherwise: Any) -> Any:
    """A JSON file of the folder, or what stands for it where it is not there."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return otherwise
    except (OSError, ValueError):
        found = None
    kind = list if name == _MODULES else dict
    if not isinstance(found, kind):
        raise ConfigError(f"{where}: {folder / name} cannot be read")
    return found
