"""`RemoteAugmenter` against a real server: what `Augmenter` yields, to the last bit."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

import diffaug
from diffaug import Augment, Augmenter, RemoteAugmenter
from tests.conftest import SHARDS
from tests.support.forks import Forks
from tests.support.hostile import encoded
from tests.support.jobs import BATCH, GREY
from tests.support.loading import pictures, samples
from tests.support.serving import Server, recipe_file, serving

pytestmark = pytest.mark.services

PLAIN: dict[str, Any] = {"model": GREY, "strength": 0.4, "steps": 2, "format": "jpg"}
RANGE: dict[str, Any] = PLAIN | {
    "strength": "0.2:0.8",
    "condition": "label",
    "guidance": 2,
    "copies": 2,
    "format": "webp",
    "background": "teal",
}
RECIPES = {"plain": PLAIN, "range": RANGE}


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("recipes")
    files = [recipe_file(folder, name, **fields) for name, fields in RECIPES.items()]
    with serving(forked, *(word for file in files for word in ("--recipe", file))) as server:
        yield server


def both(server: Server, fields: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """The stage that a server carries out, and the one that is carried out here."""
    remote = RemoteAugmenter(server.url, fields, **options)
    return remote, Augmenter(fields, batch_size=BATCH, keep=options.get("keep", False))


def content(value: Any) -> Any:
    """A member, so that two of them can be compared to the last bit."""
    if isinstance(value, Image.Image):
        return value.mode, value.size, value.tobytes()
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    return value


def contents(stream: Any) -> list[dict[str, Any]]:
    return [{name: content(value) for name, value in sample.items()} for sample in stream]


def shard(decoded: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        found = wds.WebDataset(str(SHARDS[0]), shardshuffle=False).decode(decoded)
        return list(found.slice(5))


@pytest.mark.parametrize(("name", "decoded"), [("range", "pil"), ("range", "torchrgb8")])
def test_a_stream_is_the_augmenters_to_the_last_bit(
    server: Server, name: str, decoded: str
) -> None:
    """Shuffled classes, two copies, kept originals, the second epoch."""
    remote, local = both(server, RECIPES[name], keep=True)
    given = shard(decoded)
    for stage in (remote, local):
        stage.set_epoch(1)
    ours, theirs = contents(remote(given)), contents(local(given))
    assert [one["__key__"] for one in ours[:4]] == ["00000", "00000-a2", "00000-a3", "00001"]
    assert ours == theirs


def test_pictures_of_all_kinds_are_the_augmenters(server: Server) -> None:
    """With alpha, in 16 bits, in colour, of other sizes, as floats and of a jpg recipe."""
    grey, other = pictures(2)
    colour = Image.merge("RGB", [grey, other, grey.rotate(90)]).resize((45, 30))
    clear = colour.copy()
    clear.putalpha(Image.linear_gradient("L").resize(colour.size))
    palette = colour.convert("P")
    deep = (np.arange(784, dtype=np.uint16) * 80).reshape(28, 28)
    tensor = torch.from_numpy(np.array(colour)).permute(2, 0, 1)
    images = [colour, clear, clear.convert("LA"), palette, Image.fromarray(deep), tensor]
    images += [tensor / 255, (tensor[:1] / 255).half()]
    given = [{"__key__": str(n), "png": image, "cls": n} for n, image in enumerate(images)]
    for fields in (RANGE, PLAIN):
        remote, local = both(server, fields)
        assert contents(remote(given)) == contents(local(given))


def test_one_at_a_time_is_the_same(server: Server) -> None:
    """Bare images, tensors and samples; also in a process that was forked by hand afterwards."""
    augment = Augment(PLAIN, url=server.url)
    _, local = both(server, PLAIN)
    given = samples(3)
    for epoch in (0, 1):
        for stage in (augment, local):
            stage.set_epoch(epoch)
        wanted = [one["png"].tobytes() for one in local(given)]
        assert [augment(one["png"]).tobytes() for one in given] == wanted
        assert [one["png"].tobytes() for one in map(augment, given)] == wanted
    assert len(pickle.dumps(augment)) < 5000
    assert augment(torch.from_numpy(np.array(given[0]["png"]))[None]).shape == (1, 28, 28)
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        os._exit(0 if [augment(one["png"]).tobytes() for one in given] == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [augment(one["png"]).tobytes() for one in given] == wanted
    with pytest.raises(diffaug.ConfigError, match="condition: the recipe reads it from a sample"):
        Augment(RANGE, url=server.url)(given[0]["png"])


def streamed(stage: Any, workers: int, **options: Any) -> list[dict[str, Any]]:
    """An epoch and the next one, of the first samples of each worker's shards."""
    urls = [str(path) for path in SHARDS[:2]]
    dataset = wds.WebDataset(urls, shardshuffle=False).decode("pil").slice(3).compose(stage)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, **options)
    found = []
    for epoch in range(2):
        stage.set_epoch(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
            found.append({one["__key__"]: one["png"].tobytes() for one in loader})
    return found


@pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=[pytest.mark.process, pytest.mark.proof])]
)
def test_workers_change_nothing(server: Server, method: str) -> None:
    remote, _ = both(server, PLAIN)
    alone = streamed(remote, 0)
    assert [len(epoch) for epoch in alone] == [3, 3]
    found = streamed(remote, 2, multiprocessing_context=method, persistent_workers=True)
    for epoch in range(2):
        assert len(found[epoch]) == 6
        assert found[epoch].items() >= alone[epoch].items()


def test_a_stream_goes_on_from_a_state(server: Server) -> None:
    first, second = (both(server, RANGE)[0] for _ in range(2))
    whole = contents(first(samples(6)))
    begun = first(samples(6))
    assert contents(islice(begun, 5)) == whole[:5]
    begun.close()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert contents(second(samples(6))) == whole[5:]


def running() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("diffaug-remote")]


def test_it_reads_little_ahead_and_ends_when_closed(server: Server) -> None:
    read: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        (picture,) = pictures(1)
        while True:
            read.append(len(read))
            yield {"__key__": str(len(read)), "png": picture}

    stream = RemoteAugmenter(server.url, PLAIN, in_flight=5)(endless())
    for taken in range(1, 12):
        next(stream)
        assert len(read) <= taken + 4
    assert running()
    stream.close()
    assert not running()


def test_an_error_of_the_source_passes_through(server: Server) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from samples(3)
        raise LookupError("the disk is gone")

    with pytest.raises(LookupError, match="the disk is gone"):
        list(RemoteAugmenter(server.url, PLAIN)(broken()))
    assert not running()


def test_what_is_no_sample_is_passed_over(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    remote, _ = both(server, PLAIN)
    litter: dict[str, Any] = {"__key__": "README", "txt": "..."}
    assert [one["__key__"] for one in remote([litter, *samples(1), litter])] == ["00000-a0"]
    assert "2 passed over" in caplog.text


@pytest.mark.parametrize(
    "spoilt",
    [
        {"cls": 10},
        {"cls": "shoe"},
        {"png": Image.new("F", (28, 28))},
        {"png": np.zeros((28, 28), np.uint8)},
        {"png": torch.zeros(2, 28, 28)},
        {"png": torch.full((1, 28, 28), 2.0)},
    ],
)
def test_a_sample_that_cannot_be_augmented_is_the_same_error(
    server: Server, spoilt: dict[str, Any]
) -> None:
    """After the copies of those before it."""
    first, second = samples(2)
    errors = []
    for stage in both(server, RANGE):
        with pytest.raises((TypeError, ValueError)) as caught:
            list(stage([first, second | spoilt]))
        errors.append(caught.value)
    ours, theirs = errors
    assert type(ours) is type(theirs)
    assert str(ours) == str(theirs)
    assert getattr(ours, "code", None) == getattr(theirs, "code", None)
    stream = both(server, RANGE)[0]([first, second | spoilt])
    assert [next(stream)["__key__"], next(stream)["__key__"]] == ["00000-a0", "00000-a1"]
    with pytest.raises(type(ours)):
        next(stream)
    assert not running()


# --- what the server answers to a client that takes PNG alone


def test_png_is_answered_where_nothing_else_is_taken(server: Server) -> None:
    """The same pixels as the recipe's own format, under another name, and its own row."""
    (image,) = pictures(1)
    data = encoded(image, "PNG")
    kinds = dict[str, httpx.Response]()
    for accept in ("image/png", "*/*", "image/png", "image/webp, image/png", "IMAGE/PNG;q=1"):
        answer = server.post(data, accept=accept, recipe="range", label=3)
        row = json.loads(answer.headers["diffaug-row"])
        assert row["output_bytes"] == len(answer.content)
        found = kinds.setdefault(answer.headers["content-type"], answer)
        assert answer.content == found.content
        assert answer.headers["etag"] == found.headers["etag"]
    assert set(kinds) == {"image/png", "image/webp"}
    tags = [answer.headers["etag"].strip('"') for answer in kinds.values()]
    assert tags == [tags[0], f"{tags[0]}-webp"]
    png, webp = (Image.open(io.BytesIO(answer.content)) for answer in kinds.values())
    assert np.array_equal(np.asarray(png.convert("RGB")), np.asarray(webp.convert("RGB")))
