"""Loading a classifier that is the user's own Python callable, `module:callable`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffaug.diffusion.batched import is_out_of_memory
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.judges.network import PictureNetwork, to_tensor

__all__ = ["digest_code", "load_code"]

_imported: dict[str, str] = {}
"""The digest of each reference this process has imported; Python imports no module twice."""


def digest_code(reference: str) -> str:
    """sha256, in hex, of the reference and the module's source file, and of no other file.

    Raises:
        ConfigError: there is no such module, or it has no source file.
    """
    return hashlib.sha256(reference.encode() + b"\n" + _source(reference).read_bytes()).hexdigest()


def load_code(reference: str, execution: Execution) -> PictureNetwork:
    """Load the callable as a classifier.

    It is called with float32 (B, C, H, W) in [0, 1] on the job's device, with C 1 or 3, the
    pictures of a call having one size and mode, and B always the same. It returns logits
    (B, classes), in which each row depends on its picture alone. Several threads call it at once.

    Raises:
        ConfigError: there is no such callable, or its module cannot be imported.
    """
    digest = digest_code(reference)
    module, _, name = reference.partition(":")
    try:
        classify: Any = importlib.import_module(module)
        if _imported.setdefault(reference, digest) != digest:
            raise ConfigError(
                f"judges: label={reference}: its module has changed since it was imported: restart "
                "the process"
            )
        for part in name.split("."):
            classify = getattr(classify, part)
    except AttributeError:
        raise ConfigError(f"judges: label={reference}: {module} has no {name}") from None
    except ConfigError:
        raise
    except Exception as error:  # the user's own module can raise anything
        raise ConfigError(f"judges: label={reference}: it cannot be imported: {error}") from error
    if not callable(classify):
        raise ConfigError(f"judges: label={reference}: it is not callable")
    network = _checked(reference, classify)
    return PictureNetwork(to_tensor, network, execution.batch_size, torch.device(execution.device))


def _checked(reference: str, classify: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    def network(batch: Tensor) -> Tensor:
        shape = tuple(batch.shape)
        try:
            logits = classify(batch)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ConfigError(
                f"judges: label={reference}: it raised {type(error).__name__} on a batch {shape}: "
                f"{error}"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(batch):
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ConfigError(
                f"judges: label={reference}: it returned {what} for a batch {shape}, but must "
                f"return a tensor of logits ({len(batch)}, classes)"
            )
        return logits

    return network


def _source(reference: str) -> Path:
    """The module's source file, which may lie in the current folder."""
    module = reference.partition(":")[0]
    here = str(Path.cwd())
    if Path(f"{module.replace('.', '/')}.py").is_file() and here not in sys.path:
        sys.path.append(here)  # a console script lacks it
    try:
        found = importlib.util.find_spec(module)
    except Exception as error:  # find_spec imports the packages above the module
        raise ConfigError(f"judges: label={reference}: no module {module}: {error}") from error
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise ConfigError(
            f"judges: label={reference}: there is no module {module}: install it, put it in the "
            "current folder, or give a folder saved by transformers"
        )
    return Path(found.origin)
