"""Masked language models of transformers: BERT, RoBERTa, DistilBERT, ModernBERT and their kin.

Their networks have two parts, of which only the second grows with the vocabulary: a body, from
tokens to features, and a head, from the features of one place to its logits. All of these classes
call the body by the attribute that `base_model_prefix` names; so the head alone is the same class
with a body that hands on the features it is given.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffaug.diffusion.masked import MaskedNetwork
from diffaug.errors import ConfigError, require_extra
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.masked import LENGTHS, MaskedModel
from diffaug.models.pieces import Pieces
from diffaug.models.quiet import quiet

__all__ = ["BodyAndHead", "load", "longest", "pieces_of", "read_parts"]


def load(checkpoint: Checkpoint, execution: Execution) -> MaskedModel:
    """Load a checkpoint to edit texts.

    Raises:
        ConfigError: the checkpoint is broken, or its tokenizer is of no known kind.
    """
    name = checkpoint.reference
    tokenizer, model = read_parts(checkpoint, getattr(torch, execution.dtype))
    device = torch.device(execution.device)
    parts = BodyAndHead(model.to(device).eval().requires_grad_(False))
    pieces = pieces_of(tokenizer, name)
    before, behind = pieces.around()
    padding = tokenizer.pad_token_id
    network = MaskedNetwork(
        parts.body,
        parts.head,
        mask=tokenizer.mask_token_id,
        drawn=_fitted(pieces.drawn, model.config.vocab_size),
        device=device,
    )
    _check_parts(network, model, name)
    most = longest(model, tokenizer)
    return MaskedModel(
        network=network,
        pieces=pieces,
        before=before,
        behind=behind,
        padding=tokenizer.mask_token_id if padding is None else padding,
        classes=_classes(checkpoint, tokenizer),
        lengths=tuple(one for one in LENGTHS if one <= most) or (most,),
    )


def read_parts(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, Any]:
    """The tokenizer and the network of a checkpoint, as transformers loads them.

    Raises:
        ConfigError: the checkpoint is broken, or its tokenizer is not one that marks places.
    """
    require_extra("a masked language model", "text", "transformers")
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    name, folder = checkpoint.reference, str(checkpoint.folder)
    try:
        with quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model: Any = AutoModelForMaskedLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype
            )
    except Exception as error:  # whatever transformers raises of files that do not fit
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(f"model {name}: transformers cannot load it: {said}") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ConfigError(f"model {name}: it has no tokenizer.json, which texts are read by")
    if tokenizer.mask_token_id is None:
        raise ConfigError(f"model {name}: its tokenizer has no mask token")
    return tokenizer, model


def pieces_of(tokenizer: Any, name: str) -> Pieces:
    """The pieces of a tokenizer of transformers; `name` is the model, as errors call it."""
    return Pieces(tokenizer.backend_tokenizer, tokenizer.all_special_ids, name)


def _fitted(drawn: Any, count: int) -> Any:
    """(count,): which outputs of a network may be drawn: it may have more than there are pieces."""
    found = np.zeros(count, dtype=np.bool_)
    found[: min(count, len(drawn))] = drawn[:count]
    return found


def longest(model: Any, tokenizer: Any) -> int:
    """How many tokens a network of transformers takes, up to the last of LENGTHS."""
    most = int(getattr(model.config, "max_position_embeddings", LENGTHS[-1]))
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            most -= padding + 1  # a RoBERTa counts positions from its padding token on
    return min(most, int(tokenizer.model_max_length), LENGTHS[-1])


@torch.inference_mode()
def _check_parts(network: MaskedNetwork, model: Any, name: str) -> None:
    """Check that body and head together are the model.

    Raises:
        ConfigError: they are not: it is built otherwise than those that are known here.
    """
    tokens = torch.arange(8, device=network.device)[None] % model.config.vocab_size
    attended = torch.ones_like(tokens, dtype=torch.bool)
    try:
        whole = model(input_ids=tokens, attention_mask=attended.long()).logits[0].float()
        parts = network.head(network.body(tokens, attended)[0]).float()
        same = torch.allclose(whole, parts, rtol=0.05, atol=0.05 * float(whole.abs().max()))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        same = False
    if not same:
        raise ConfigError(
            f"model {name}: {type(model).__name__} has other parts than a body and a head for "
            "single tokens, which is what can be run here"
        )


def _classes(checkpoint: Checkpoint, tokenizer: Any) -> tuple[int, ...]:
    """The tokens of the classes that a model was trained with, as its card counts them."""
    count = checkpoint.card.class_count if checkpoint.card else 0
    return tuple(tokenizer.convert_tokens_to_ids(f"[CLASS{number}]") for number in range(count))


class BodyAndHead(nn.Module):
    """A network in two parts.

    Args:
        model: of a class of transformers for masked language models.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def body(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """From tokens (B, L), and which are no padding (B, L), to features (B, L, F)."""
        found: Tensor = self.model.base_model(input_ids=tokens, attention_mask=attended.long())[0]
        return found

    @cached_property
    def _head(self) -> Any:
        """The model with a body that hands on what it is given; it shares the weights."""
        head = copy.copy(self.model)
        head._modules = dict(self.model._modules)
        setattr(head, head.base_model_prefix, _Handing())
        return head

    def head(self, features: Tensor) -> Tensor:
        """From features (K, F) to logits (K, V)."""
        given = features.new_zeros((1, len(features)), dtype=torch.long)
        found: Tensor = self._head(input_ids=given, inputs_embeds=features[None]).logits[0]
        return found


class _Handing(nn.Module):
    """A body whose features are those that it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=inputs_embeds)
