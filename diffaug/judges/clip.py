"""The clip judge: CLIP's similarity of an image and its label in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import side_by_side
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.judges.candidate import Candidate, Scores
from diffaug.judges.network import PictureNetwork
from diffaug.judges.pretrained import (
    config_of,
    digest_folder,
    find_folder,
    load,
    pictures_for,
)
from diffaug.models.quiet import quiet

__all__ = ["ClipJudge", "clip_digest", "cosine", "load_clip_judge"]

_TEXTS = 4096
"""The number of texts whose embeddings are kept."""

Embedding = NDArray[np.float64]


class ClipJudge:
    """The cosine, in [-1, 1], of the embeddings of an image and its label text.

    The method is that of Radford et al. 2021.

    Args:
        images: returns a picture's embedding.
        text: returns a text's embedding; each text is encoded alone.
    """

    def __init__(self, images: PictureNetwork, text: Callable[[str], Embedding]) -> None:
        self._images = images
        self._text = lru_cache(_TEXTS)(text)
        self.rows = images.rows

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The score of each; None without a text."""
        labelled = [one for one in candidates if one.label_text]
        images = iter(self._images([one.output for one in labelled]))
        return [
            {"score_clip": cosine(next(images), self._text(one.label_text))}
            if one.label_text
            else {"score_clip": None}
            for one in candidates
        ]


def cosine(one: Embedding, other: Embedding) -> float | None:
    """The cosine of two embeddings; None if it is not finite."""
    found = float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))
    return found if np.isfinite(found) else None


def clip_digest(reference: str) -> str:
    """The digest of a CLIP model, in hex.

    Raises:
        ConfigError: there is no such model.
    """
    return digest_folder(find_folder("clip", reference))


def load_clip_judge(reference: str, execution: Execution) -> ClipJudge:
    """Load a CLIP model.

    Raises:
        ConfigError: there is no such model, or it is not a CLIP model.
    """
    folder = find_folder("clip", reference)
    kind = config_of("clip", reference, folder).get("model_type")
    if kind != "clip":
        raise ConfigError(f"judges: clip={reference}: it is a {kind} model, not a clip one")
    model = load("clip", reference, folder, "CLIPModel", execution.device)
    device = torch.device(execution.device)

    def images(pixels: Tensor) -> Tensor:
        seen = model.vision_model(pixel_values=pixels).pooler_output
        embedded: Tensor = model.visual_projection(seen)
        return embedded

    prepare = pictures_for("clip", reference, folder)
    network = PictureNetwork(prepare, images, execution.batch_size, device)
    return ClipJudge(network, _text(reference, folder, model, device))


def _text(reference: str, folder: Any, model: Any, device: torch.device) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"judges: clip={reference}: its tokenizer cannot be loaded: {reason}"
        ) from error
    longest = model.config.text_config.max_position_embeddings

    def embed(text: str) -> Embedding:
        tokens = tokenizer(
            text, padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        ).to(device)

        def call() -> Tensor:
            read = model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            embedded: Tensor = model.text_projection(read.pooler_output)
            return embedded

        with torch.inference_mode():
            (embedded,) = side_by_side([call], device)
        found: Embedding = embedded[0].double().cpu().numpy()
        return found

    return embed
