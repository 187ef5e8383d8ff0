"""Requests of recipes, and how `diffaug serve` is started for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import torch

from diffaug.diffusion.batched import at_once
from diffaug.execution import Execution
from tests.benchmarks.serving.load import Ask
from tests.benchmarks.serving.pictures import Picture
from tests.benchmarks.serving.processes import Served, Starts, served
from tests.support.serving import recipe_file

__all__ = ["Fields", "ask", "bodies", "diffaug_serves", "lanes"]

Fields = dict[str, Any]
"""Of a recipe."""


@contextmanager
def diffaug_serves(
    starts: Starts,
    folder: Path,
    recipes: Mapping[str, Fields],
    batch_size: int,
    *options: str | Path,
    port: int | None = None,
) -> Iterator[Served]:
    """`diffaug serve` of these recipes by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [recipe_file(folder, name, **fields) for name, fields in recipes.items()]
    named = [word for file in files for word in ("--recipe", file)]
    size = ("--batch-size", str(batch_size))
    with served(starts, *named, *size, *options, port=port) as server:
        yield server


def bodies(folder: Path, found: Iterable[Picture]) -> dict[str, str]:
    """Write each picture's file; its path by key."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for one in found:
        path = folder / f"{one.key}.png"
        path.write_bytes(one.data)
        paths[one.key] = str(path)
    return paths


def ask(server: Served, picture: Picture, path: str, recipe: str, copy: int) -> Ask:
    """The request for a copy of a picture."""
    query = {"recipe": recipe, "copy": copy, "label": picture.label, "key": picture.key}
    return Ask(f"{server.url}/v1/augment?{urlencode(query)}", path)


def lanes(batch_size: int) -> int:
    """How many edits a server on this machine has under way at once."""
    return batch_size * at_once(torch.device(Execution.choose(batch_size).device))
