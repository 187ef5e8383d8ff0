"""Clips over HTTP: the bytes and rows of a job, alone, in a shard, and next to pictures."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageSequence

import diffaug
from tests.conftest import SHARDS
from tests.support.clips import container, decoded, moving, npy, write_clips
from tests.support.conversations import Conversation, House, until
from tests.support.forks import Forks
from tests.support.hostile import png
from tests.support.hostile_clips import CASES
from tests.support.hostile_clips import rows as hostile_rows
from tests.support.jobs import GREY, augmented, by_identity, members, output_bytes, tars
from tests.support.serving import Server, recipe_file, serving

pytestmark = pytest.mark.services

BATCH = 8
STILL: dict[str, Any] = {"model": GREY, "sampler": "dpmsolver++", "strength": 0.4, "steps": 5}
MOVING = STILL | {"medium": "clip", "copies": 2, "noise_time": "mixed:0.5"}
CLIPS = {
    "a": container(moving(5)),
    "b": container(moving(20, (32, 32), seed=1)),  # more frames than lanes
    "c": npy(moving(3, seed=2)),
}


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("recipes")
    files = [recipe_file(folder, "moving", **MOVING), recipe_file(folder, "still", **STILL)]
    arguments = [argument for file in files for argument in ("--recipe", file)]
    patient = ("--max-wait", "1000000")  # however slow this machine is
    with serving(forked, *arguments, *patient, "--cache", folder / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = {key: data for key, data in CLIPS.items() if key != "c"}
    return write_clips(tmp_path_factory.mktemp("clips") / "clips.tar", clips)


@pytest.fixture(scope="module")
def job(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    output = tmp_path_factory.mktemp("job") / "out"
    return output, augmented([source], output, batch_size=BATCH, **MOVING)


def ask(server: Server, key: Any, copy: Any, accept: str = "*/*") -> httpx.Response:
    return server.post(
        CLIPS[key], "video/mp4", accept, recipe="moving", copy=copy, key=key, label="ab".index(key)
    )


def test_every_byte_and_every_column_is_the_jobs(
    server: Server, job: tuple[Path, pd.DataFrame]
) -> None:
    output, manifest = job
    for row in by_identity(manifest).itertuples():
        answer = ask(server, row.source_key, row.copy)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.content == output_bytes(output, row)
        said = json.loads(answer.headers["diffaug-row"])
        assert said["medium"] == "clip"
        assert {column: getattr(row, column) for column in said} == pytest.approx(said)


def test_the_same_next_to_pictures_and_other_clips(
    server: Server, job: tuple[Path, pd.DataFrame]
) -> None:
    output, manifest = job
    pictures = [data for name, data in members(SHARDS[0]).items() if name.endswith(".png")][:8]

    def still(data: bytes) -> bytes:
        return server.post(data, recipe="still").content

    alone = [still(data) for data in pictures]
    with ThreadPoolExecutor(16) as pool:
        others = [
            pool.submit(server.post, container(moving(7, seed=seed)), "video/mp4", recipe="moving")
            for seed in range(2, 6)
        ]
        beside = [pool.submit(still, data) for data in pictures]
        clips = [
            (row, pool.submit(ask, server, row.source_key, row.copy))
            for row in manifest.itertuples()
        ]
        for row, answer in clips:
            assert answer.result().content == output_bytes(output, row)
        assert [one.result() for one in beside] == alone
        assert {one.result().status_code for one in others} == {200}


def test_a_shard_of_clips_is_the_jobs_tar(
    server: Server, source: Path, job: tuple[Path, pd.DataFrame]
) -> None:
    answer = server.post(source.read_bytes(), "application/x-tar", recipe="moving")
    (written,) = tars(job[0]).values()
    assert answer.content == written


def test_apng_loses_no_bit(server: Server) -> None:
    stored = ask(server, "a", 0)
    answer = ask(server, "a", 0, "image/apng")
    assert answer.headers["content-type"] == "image/apng"
    with Image.open(io.BytesIO(answer.content)) as image:
        frames = [np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(image)]
    np.testing.assert_array_equal(np.stack(frames), decoded(stored.content)[0])


def test_json_holds_the_clip(server: Server, forked: Forks, tmp_path: Path) -> None:
    answer = ask(server, "a", 1, "application/json")
    told = answer.json()
    assert set(told) == {"clip", "media_type", "row", "recipe", "environment"}
    assert base64.b64decode(told["clip"]) == ask(server, "a", 1).content
    (tmp_path / "a.json").write_bytes(answer.content)
    (tmp_path / "a.mp4").write_bytes(CLIPS["a"])
    command = ("replay", tmp_path / "a.json", "--source", tmp_path / "a.mp4")
    replayed = forked.start(*command, "-o", tmp_path / "again.mp4")
    assert replayed.wait() == 0, replayed.err
    assert (tmp_path / "again.mp4").read_bytes() == base64.b64decode(told["clip"])


def test_what_was_made_is_not_made_again(server: Server) -> None:
    made = ask(server, "a", 0)
    before = server.count("diffaug_rows_total")
    again = ask(server, "a", 0)
    assert again.content == made.content
    by_tag = server.client.get(f"/v1/augmented/{made.headers['etag'].strip(chr(34))}")
    assert (by_tag.content, by_tag.headers["content-type"]) == (made.content, "video/mp4")
    assert server.count("diffaug_rows_total") == before


def test_arrays_are_clips(server: Server) -> None:
    answer = server.post(CLIPS["c"], "application/octet-stream", recipe="moving")
    assert answer.status_code == 200
    assert decoded(answer.content)[0].shape == (3, 40, 48, 3)


@pytest.mark.parametrize(
    ("data", "recipe", "status", "code"),
    [
        (container(moving(4))[:-300], "moving", 400, "unreadable_clip"),
        (b"no clip", "moving", 400, "unreadable_clip"),
        (container(moving(4)), "still", 400, "unreadable_image"),
    ],
)
def test_what_is_no_clip(server: Server, data: bytes, recipe: str, status: int, code: str) -> None:
    answer = server.post(data, "video/mp4", recipe=recipe)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_when_frames_are_shown_and_what_is_heard_is_the_clips_own(server: Server) -> None:
    """Of clips of the same frames, which have the same identity."""
    frames = moving(5, seed=9)
    clips = [container(frames, fps=2), container(frames, fps=50), container(frames, sound=True)]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda data: server.post(data, "video/mp4", recipe="moving"), clips))
    assert len({one.headers["etag"] for one in made}) == 3
    assert [decoded(one.content)[1][1] for one in made[:2]] == [0.5, 0.02]
    assert [streams_of_sound(one.content) for one in made] == [0, 0, 1]


def streams_of_sound(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as opened:
        return len(opened.streams.audio)


def test_a_clip_longer_than_the_queue_is_made_and_keeps_no_picture_out() -> None:
    """Once, however many ask for it, and a frame at a time, in half of the queue."""
    house = House({"moving": MOVING, "still": STILL}, BATCH, wait=20)
    house.state.admission._pace = lambda: 1.0
    clip, calls = container(moving(30, seed=7)), 2  # three times the queue

    async def talk() -> None:
        house.gate.close()
        same = [_about(house, clip, "moving") for _ in range(3)]
        await until(lambda: [one.waiting for one in house.service.under_way] == [3])
        await until(lambda: _in_the_queue(house) == 10 / calls)
        picture = _about(house, png(0), "still")
        await until(lambda: _in_the_queue(house) == 10 / calls + 1)
        other = _about(house, container(moving(4)), "moving")
        await other.ended()
        assert other.problem["code"] == "full"
        house.gate.open()
        for one in (*same, picture):
            await one.ended()
            assert one.status == 200, one.answer
        assert len({one.answer for one in same}) == 1

    before = house.service.worker.load().rows
    asyncio.run(talk())
    assert house.service.worker.load().rows - before == calls * (30 + 1)
    house.close()


def _about(house: House, data: bytes, recipe: str) -> Conversation:
    conversation = Conversation(house.app, f"recipe={recipe}", content_type="video/mp4")
    conversation.give(data, is_last=True)
    return conversation


def test_hostile_clips(server: Server, tmp_path: Path) -> None:
    """A client is told of each what a job records."""
    for row in hostile_rows(tmp_path).itertuples():
        answer = server.post(CASES[str(row.source_key)][1], "video/mp4", recipe="moving")
        if row.status == "ok":
            assert answer.status_code == 200, answer.text
        else:
            told, known = answer.json(), {"empty_clip": "empty_body"}
            code = known.get(str(row.reason_code), row.reason_code)
            assert (answer.status_code // 100, told["code"]) == (4, code), told


def test_a_long_clip_leaves_lanes_to_others_and_ends_with_its_client() -> None:
    """Frames are let in two for each lane, so that what comes later is not behind all of them."""
    house = House({"moving": MOVING}, BATCH)

    async def talk() -> None:
        house.gate.close()
        clip = _about(house, container(moving(60)), "moving")
        await until(lambda: _in_the_queue(house) == 2 * BATCH)
        others = [_about(house, container(moving(1, seed=seed)), "moving") for seed in range(2)]
        await until(lambda: _in_the_queue(house) == 2 * BATCH + 2)
        clip.hang_up()
        await clip.ended()
        assert clip.problem["code"] == "gone"
        house.gate.open()
        for other in others:
            await other.ended()
        assert [other.status for other in others] == [200, 200]

    asyncio.run(talk())
    state = house.state
    assert (state.active, state.admission.seconds) == (0, 0)
    house.close()


def _in_the_queue(house: House) -> int:
    load = house.service.worker.load()
    return load.waiting + load.held


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    return bool(one == other) if isinstance(one, bytes) else bool((one == other).all())


@pytest.mark.parametrize(
    "more",
    [
        {"window": "0.1:0.4", "format": "webm"},
        pytest.param({}, marks=pytest.mark.proof),
        pytest.param({"frames": 3}, marks=pytest.mark.proof),
    ],
)
def test_a_loader_has_them_made_by_a_server(forked: Forks, more: dict[str, Any]) -> None:
    """As bytes, tensors, arrays and pictures: what an `Augmenter` in this process makes."""
    recipe = MOVING | {"copies": 1} | more
    frames = moving(5)
    given: list[dict[str, Any]] = [
        {"__key__": "bytes", "mp4": CLIPS["a"]},
        {"__key__": "tensor", "mp4": torch.from_numpy(frames).permute(0, 3, 1, 2)},
        {"__key__": "array", "mp4": frames},
        {"__key__": "pictures", "mp4": list(map(Image.fromarray, frames))},
    ]
    here = list(diffaug.Augmenter(recipe, batch_size=BATCH)(given))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in recipe.items()]
    with serving(forked, *flags) as server:
        there = list(diffaug.RemoteAugmenter(server.url, recipe)(given))
    assert [one["__key__"] for one in there] == [one["__key__"] for one in here]
    for one, other in zip(there, here, strict=True):
        assert type(one["mp4"]) is type(other["mp4"])
        assert same(one["mp4"], other["mp4"]), one["__key__"]
