"""Loading the label judge's classifier: a folder saved by transformers, or the user's own code."""

from __future__ import annotations

import torch
from torch import Tensor

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.judges.label import LabelJudge
from diffaug.judges.network import PictureNetwork
from diffaug.judges.own_code import digest_code, load_code
from diffaug.judges.pretrained import digest_folder, find_folder, load, pictures_for
from diffaug.judges.text import text_network
from diffaug.storage import local_path

__all__ = ["label_digest", "load_label_judge", "load_text_label_judge"]


def label_digest(reference: str) -> str:
    """The digest of a classifier, in hex.

    Raises:
        ConfigError: there is no such classifier.
    """
    if _is_code(reference):
        return digest_code(reference)
    return digest_folder(find_folder("label", reference))


def load_label_judge(reference: str, execution: Execution) -> LabelJudge:
    """Load a classifier.

    Raises:
        ConfigError: there is no such classifier, or it is not one for RGB pictures.
    """
    if _is_code(reference):
        return LabelJudge(load_code(reference, execution))
    folder = find_folder("label", reference)
    network = load("label", reference, folder, "AutoModelForImageClassification", execution.device)
    channels = getattr(network.config, "num_channels", 3)
    if channels != 3:
        raise ConfigError(
            f"judges: label={reference}: it takes pictures of {channels} channels, but the judge "
            "passes RGB: wrap it in a module:callable"
        )

    def logits(pixels: Tensor) -> Tensor:
        found: Tensor = network(pixel_values=pixels).logits
        return found

    device = torch.device(execution.device)
    prepare = pictures_for("label", reference, folder)
    return LabelJudge(PictureNetwork(prepare, logits, execution.batch_size, device))


def load_text_label_judge(reference: str, execution: Execution) -> LabelJudge:
    """Load a classifier of texts.

    Raises:
        ConfigError: there is no such classifier.
    """
    if _is_code(reference):
        raise ConfigError(
            f"judges: label={reference}: code classifies images, and these are texts: give a "
            "folder saved by transformers"
        )
    folder, kind = find_folder("label", reference), "AutoModelForSequenceClassification"
    model = load("label", reference, folder, kind, execution.device)

    def logits(tokens: Tensor, attended: Tensor) -> Tensor:
        found: Tensor = model(input_ids=tokens, attention_mask=attended).logits
        return found

    return LabelJudge(text_network("label", reference, folder, model, logits, execution))


def _is_code(reference: str) -> bool:
    return ":" in reference and not local_path(reference).is_dir()
