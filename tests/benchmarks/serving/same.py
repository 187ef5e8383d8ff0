"""Whether a server's bytes are a job's, whoever else asks for what at the same time."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import diffaug
from tests.benchmarks.serving.load import Load, Loaded, here
from tests.benchmarks.serving.pictures import (
    GREY,
    Made,
    Picture,
    as_samples,
    digest,
    digest_of,
    job,
    pictures,
    write_shard,
)
from tests.benchmarks.serving.processes import Served, Starts
from tests.benchmarks.serving.recipes import Fields, ask, bodies, diffaug_serves
from tests.benchmarks.serving.tables import Row, Tables

__all__ = ["mixed_recipes", "same"]

_RUNS = 2


def mixed_recipes(model: str, steps: int) -> dict[str, Fields]:
    """Recipes by name: one strength, strengths drawn for each copy, classes and guidance."""
    common = {"model": model, "steps": steps}
    return {
        "plain": common | {"strength": 0.4, "format": "png"},
        "range": common | {"strength": "0.2:0.8", "copies": 2, "format": "webp"},
        "guided": common | {"strength": 0.6, "condition": "label", "guidance": 2},
    }


def same(
    starts: Starts,
    folder: Path,
    *,
    count: int = 500,
    clients: int = 16,
    model: str = GREY,
    steps: int = 10,
    pause: float = 0.5,
    batch_size: int = 32,
    loads: Any = here,
) -> Tables:
    """Ask for every copy of `count` pictures, each by one of the recipes, twice.

    The server is started again in between, and the order is another.

    Raises:
        AssertionError: an answer is not, byte for byte, what a job wrote.
    """
    recipes = mixed_recipes(model, steps)
    found = pictures(model, count)
    chosen = dict(zip((one.key for one in found), _draws(recipes, count), strict=True))
    made: dict[str, Made] = {}
    own = {name: [one for one in found if chosen[one.key] == name] for name in recipes}
    for name, fields in recipes.items():
        shard = write_shard(folder / f"source-{name}.tar", own[name])
        made[name] = job(shard, folder / f"job-{name}", fields, batch_size)
    wanted = [
        (one, chosen[one.key], copy)
        for one in found
        for copy in range(recipes[chosen[one.key]].get("copies", 1))
    ]
    paths = bodies(folder / "bodies", found)
    tables: Tables = {"Bytes": []}
    for run in range(_RUNS):
        order = random.Random(run).sample(wanted, len(wanted))
        with diffaug_serves(starts, folder / "recipes", recipes, batch_size) as server:
            asks = [ask(server, one, paths[one.key], name, copy) for one, name, copy in order]
            done: Loaded = loads([Load(asks, clients, pause=pause, seed=run)])
            if run == _RUNS - 1:
                tables["Pixels"] = [
                    _by_client(server, name, recipes[name], made[name], own[name]) for name in made
                ]
        answers = {got.ask: got for got in done.got[0]}
        assert len(answers) == len(done.got[0]) == len(wanted)
        for at, (one, name, copy) in enumerate(order):
            expected = hashlib.sha256(made[name][one.key, copy]).hexdigest()
            got = answers[at]
            assert (got.status, got.sha256) == (200, expected), f"{name} {one.key} {copy}: {got}"
        counted = {"run": run + 1, "answers": len(answers), "equal": len(answers)}
        tables["Bytes"].append(counted)
    return tables


def _by_client(server: Served, name: str, recipe: Fields, made: Made, own: list[Picture]) -> Row:
    """The same pictures once more, through a loader's stage."""
    stage = diffaug.RemoteAugmenter(server.url, recipe)
    got = {sample["__key__"]: digest(sample["png"]) for sample in stage(as_samples(own))}
    expected = {f"{key}-a{copy}": digest_of(data) for (key, copy), data in made.items()}
    assert got == expected, f"RemoteAugmenter and job differ in {name}"
    return {"RemoteAugmenter": name, "images": len(got), "equal": len(got)}


def _draws(recipes: dict[str, Fields], count: int) -> list[str]:
    return random.Random(count).choices(list(recipes), k=count)
