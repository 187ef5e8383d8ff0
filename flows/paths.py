"""Local paths in a flow's parameters must be whole.

A flow runs in its worker's folder, or in one that is made for the run, and not where it was asked
for. A relative path would be read or written there, unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from braceexpand import braceexpand

from diffaug import ConfigError, Recipe, storage
from diffaug.models.card import is_shipped
from diffaug.models.hub import is_hub_name
from diffaug.recipe.filters import judge_of
from diffaug.storage.chain import is_chain

__all__ = ["listed", "models_of", "require_absolute", "require_absolute_models"]


def listed(given: str | list[str] | None) -> list[str]:
    """A parameter that is one text or several, as a list."""
    return [given] if isinstance(given, str) else given or []


def require_absolute(**given: str | list[str] | None) -> None:
    """Check sources and outputs, by the names of their parameters.

    Raises:
        ConfigError: one is a relative local path; the message gives the path it would have meant.
    """
    for name, value in given.items():
        for url in (url for pattern in listed(value) for url in _alternatives(pattern)):
            link = url.rpartition("::")[2] if is_chain(url) else url
            path = storage.local_path(link)
            if path.parts and not path.is_absolute() and storage.is_local(link):
                raise _relative(name, url, path)


def require_absolute_models(**given: str | None) -> None:
    """Check references to models, add-ons and judges, which may be local paths.

    Raises:
        ConfigError: one is a relative local path; the message gives the path it would have meant.
    """
    for name, reference in given.items():
        if reference is None or is_shipped(reference):
            continue
        path = storage.local_path(reference)
        names_a_path = "/" in reference and not is_hub_name(reference)
        if not path.is_absolute() and (names_a_path or path.exists()):
            raise _relative(name, reference, path)


def models_of(recipe: Recipe) -> dict[str, str | None]:
    """What a recipe refers to that may be a local path, by names for people."""
    several = [(f"embeddings[{place}]", one) for place, one in enumerate(recipe.embeddings)]
    judges = [(f"judge {name}", reference) for name, reference in map(judge_of, recipe.judges)]
    return {
        "model": recipe.model,
        "lora": recipe.lora,
        "autoencoder": recipe.autoencoder,
        **dict(several),
        **{name: one for name, one in judges if one and ":" not in one},  # else Python code
    }


def _alternatives(pattern: str) -> Iterator[str]:
    try:
        yield from braceexpand(pattern)
    except ValueError:  # which planning reports
        yield pattern


def _relative(name: str, given: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{name}: {storage.public_url(given)} is a relative path, and in this worker's folder it "
        f"would be {Path.cwd() / path}: give the whole path"
    )
