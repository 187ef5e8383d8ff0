"""The service over HTTP, asked by httpx: the bytes of a job, and problems in words."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from PIL import Image

import diffaug
from tests.conftest import SHARDS
from tests.support.forks import Forks
from tests.support.gated import ENTRY, GATE, WITHOUT_MEMORY
from tests.support.jobs import GREY, augmented, by_identity, members, output_bytes
from tests.support.services import wait_until
from tests.support.serving import PATIENCE, Server, recipe_file, serving

pytestmark = pytest.mark.services

PLAIN: dict[str, Any] = {"model": "fashion-mnist-32", "strength": 0.4, "steps": 8, "format": "png"}
RANGE: dict[str, Any] = PLAIN | {
    "strength": "0.2:0.8",
    "condition": "label",
    "guidance": 2,
    "copies": 2,
    "format": "webp",
}
TOKEN = "of-the-tests-1234567890"
WRONG = "of-nobody-at-all-1234567890"
COUNT = 12


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("recipes")
    files = [recipe_file(folder, "plain", **PLAIN), recipe_file(folder, "range", **RANGE)]
    return [argument for file in files for argument in ("--recipe", file)]


@pytest.fixture(scope="module")
def server(forked: Forks, recipes: list[str | Path]) -> Iterator[Server]:
    with serving(forked, *recipes) as server:
        yield server


@pytest.fixture(scope="module")
def sources() -> list[tuple[str, bytes, int]]:
    """Key, PNG and class of the first pictures of a shard."""
    found = members(SHARDS[0])
    keys = [name.removesuffix(".png") for name in found if name.endswith(".png")][:COUNT]
    return [(key, found[f"{key}.png"], int(found[f"{key}.cls"])) for key in keys]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, pd.DataFrame]]:
    """Output and manifest of a job of each recipe."""
    made = {}
    for name, fields in {"plain": PLAIN, "range": RANGE}.items():
        output = tmp_path_factory.mktemp("jobs") / name
        made[name] = output, augmented(SHARDS[:1], output, sampler="dpmsolver++", **fields)
    return made


def asked(
    server: Server, sources: list[tuple[str, bytes, int]], name: str, copies: int
) -> list[httpx.Response]:
    return [
        server.post(data, recipe=name, copy=copy, label=label, key=key)
        for key, data, label in sources
        for copy in range(copies)
    ]


@pytest.mark.parametrize(("name", "copies"), [("plain", 1), ("range", 2)])
def test_every_byte_and_every_column_is_the_jobs(
    server: Server,
    sources: list[tuple[str, bytes, int]],
    jobs: dict[str, tuple[Path, pd.DataFrame]],
    name: str,
    copies: int,
) -> None:
    output, manifest = jobs[name]
    rows = manifest[manifest.source_key.isin([key for key, _, _ in sources])]
    answers = iter(asked(server, sources, name, copies))
    for row, answer in zip(by_identity(rows).itertuples(), answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.content == output_bytes(output, row)
        assert answer.headers["content-type"] == f"image/{'webp' if name == 'range' else 'png'}"
        said = json.loads(answer.headers["diffaug-row"])
        assert said["sample_id"] == row.sample_id
        assert len(answer.headers["diffaug-row"]) <= 6144
        assert {column: getattr(row, column) for column in said} == pytest.approx(said)


def test_the_etag_is_the_name_in_a_loaders_cache(
    server: Server, sources: list[tuple[str, bytes, int]], tmp_path: Path
) -> None:
    key, data, label = sources[0]
    answer = server.post(data, recipe="plain", label=label)
    loader = diffaug.Augmenter(PLAIN, cache=tmp_path, batch_size=8)
    with Image.open(io.BytesIO(data)) as image:
        list(loader([{"__key__": key, "png": image, "cls": label}]))
    (path,) = tmp_path.rglob("*.png")
    assert answer.headers["etag"] == f'"{path.stem}"'


def test_json_holds_picture_row_recipe_and_environment(
    server: Server, sources: list[tuple[str, bytes, int]]
) -> None:
    _, data, _ = sources[0]
    plain = server.post(data, recipe="plain")
    answer = server.post(data, recipe="plain", accept="application/json").json()
    assert set(answer) == {"image", "media_type", "row", "recipe", "environment"}
    assert base64.b64decode(answer["image"]) == plain.content
    assert answer["row"]["output_bytes"] == len(plain.content)
    assert answer["recipe"]["strength"] == 0.4
    assert answer["environment"]["noise"]


def test_what_the_client_has_is_not_made_again(
    server: Server, sources: list[tuple[str, bytes, int]]
) -> None:
    _, data, _ = sources[1]
    tag = server.post(data, recipe="plain").headers["etag"]
    before = server.count("diffaug_rows_total")
    again = server.client.post(
        "/v1/augment?recipe=plain",
        content=data,
        headers={"Content-Type": "image/png", "If-None-Match": f'"other", {tag}'},
    )
    assert (again.status_code, again.headers["etag"]) == (412, tag)
    assert server.count("diffaug_rows_total") == before


def test_the_recipes_are_told(server: Server) -> None:
    told = server.client.get("/v1/recipes").json()
    assert [one["name"] for one in told] == ["plain", "range"]
    assert told[0]["recipe"]["strength"] == 0.4
    by_digest = server.client.post(
        f"/v1/augment?recipe={told[0]['digest']}",
        content=b"nothing",
        headers={"Content-Type": "image/png"},
    )
    assert by_digest.json()["code"] == "unreadable_image"


PNG = object()


@pytest.mark.parametrize(
    ("query", "body", "media_type", "status", "code"),
    [
        ("", PNG, "image/png", 400, "unknown_recipe"),
        ("recipe=none", PNG, "image/png", 404, "unknown_recipe"),
        ("recipe=plain", b"", "image/png", 400, "empty_body"),
        ("recipe=plain", b"not a picture", "image/png", 400, "unreadable_image"),
        ("recipe=plain", PNG, "text/plain", 415, "media_type"),
        ("recipe=plain", PNG, None, 415, "media_type"),
        ("recipe=plain&copy=-1", PNG, "image/png", 400, "bad_request"),
        ("recipe=plain&copy=first", PNG, "image/png", 400, "bad_request"),
        ("recipe=plain&label=9999999999999999999999", PNG, "image/png", 400, "bad_request"),
        ("recipe=range", PNG, "image/png", 422, "no_label"),
        ("recipe=range&label=10", PNG, "image/png", 422, "unknown_label"),
        ("recipe=plain", bytes(2**26 + 1), "image/png", 413, "too_large_body"),
    ],
)
def test_a_mistake_is_a_problem_in_words(
    server: Server,
    sources: list[tuple[str, bytes, int]],
    query: str,
    body: Any,
    media_type: str | None,
    status: int,
    code: str,
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    content = sources[0][1] if body is PNG else body
    answer = server.client.post(f"/v1/augment?{query}", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert len(problem["detail"]) > 10


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/augment", 405),
        ("GET", "/v1/augmented/0123", 404),
        ("GET", "/v1/augmented/..%2f..%2fetc%2fpasswd", 404),
    ],
)
def test_other_paths_are_problems_too(server: Server, method: str, path: str, status: int) -> None:
    answer = server.client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_a_long_body_without_a_length_ends_at_the_limit(server: Server) -> None:
    def longer() -> Iterator[bytes]:
        for _ in range(1025):  # of which the limit is 1024
            yield bytes(2**16)

    answer = server.client.post(
        "/v1/augment?recipe=plain", content=longer(), headers={"Content-Type": "image/png"}
    )
    assert answer.status_code == 413


def test_a_body_that_stops_half_way_holds_no_lane(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/augment?recipe=plain HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            b"Content-Length: 1000\r\n\r\nhalf"
        )
        assert server.count("diffaug_lanes_held") == 0
        assert server.is_ready()


def test_the_cache_outlives_the_server(
    forked: Forks,
    recipes: list[str | Path],
    sources: list[tuple[str, bytes, int]],
    tmp_path: Path,
) -> None:
    cache = ("--cache", tmp_path / "cache")
    with serving(forked, *recipes, *cache) as server:
        first = asked(server, sources, "plain", 1)
        done = server.count("diffaug_rows_total")
        again = asked(server, sources, "plain", 1)
        assert server.count("diffaug_rows_total") == done
        assert server.count("diffaug_cache_hits_total") == len(sources)
        webp = [server.post(sources[0][1], recipe="range", label=3) for _ in range(2)]
        assert webp[0].headers["etag"].endswith('-webp"')
        assert webp[0].content == webp[1].content
        assert server.count("diffaug_cache_hits_total") == len(sources) + 1
        for name in ("wait", "lane"):
            assert server.count(f"diffaug_{name}_seconds_count") == len(sources) + 1
    with serving(forked, *recipes, *cache) as server:
        warm = server.count("diffaug_rows_total")
        later = asked(server, sources, "plain", 1)
        assert server.count("diffaug_rows_total") == warm
        tag = first[0].headers["etag"]
        kept = server.client.get(f"/v1/augmented/{tag.strip(chr(34))}")
        assert kept.content == first[0].content
        row = json.loads(first[0].headers["diffaug-row"])
        own = {name: row[name] for name in ("source_key", "source_sha256", "label")}
        assert json.loads(kept.headers["diffaug-row"]) == {
            name: value for name, value in row.items() if name not in own
        }
        unchanged = server.client.get(
            f"/v1/augmented/{tag.strip(chr(34))}", headers={"If-None-Match": tag}
        )
        assert (unchanged.status_code, unchanged.content) == (304, b"")
    contents = [[answer.content for answer in answers] for answers in (first, again, later)]
    assert contents[0] == contents[1] == contents[2]


def test_tokens_are_required_where_there_are_some(
    forked: Forks,
    recipes: list[str | Path],
    sources: list[tuple[str, bytes, int]],
    tmp_path: Path,
) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    with serving(forked, *recipes, "--tokens", tmp_path / "tokens", token=TOKEN) as server:
        assert server.post(sources[0][1], recipe="plain").status_code == 200
        del server.client.headers["Authorization"]
        refused = server.post(sources[0][1], recipe="plain")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert server.client.get("/v1/recipes").status_code == 401
        assert server.client.get("/livez").status_code == 200
        for given in (f"Bearer {WRONG}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
            wrong = server.client.get("/v1/recipes", headers={"Authorization": given})
            assert wrong.status_code == 401
            assert TOKEN not in wrong.text
            assert WRONG not in wrong.text
        for token in (TOKEN, WRONG):
            assert token not in server.process.err + server.process.out
            assert token not in server.client.get("/metrics").text


def test_after_sigterm_it_ends_what_it_has(
    forked: Forks,
    sources: list[tuple[str, bytes, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request under way is answered; what comes meanwhile is sent elsewhere."""
    monkeypatch.setenv(GATE, str(tmp_path / "closed"))
    plain = recipe_file(tmp_path, "plain", **PLAIN)
    _, data, _ = sources[0]
    with serving(forked, "--recipe", plain, "--drain", str(PATIENCE), entry=ENTRY) as server:
        (tmp_path / "closed").touch()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(server.post, data)
            wait_until(lambda: server.count("diffaug_lanes_held") > 0, PATIENCE, "the request")
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.is_ready(), PATIENCE, "the signal")
            late = server.post(data)
            assert late.status_code == 503
            assert int(late.headers["retry-after"]) > 0
            assert server.client.get("/livez").status_code == 200
            (tmp_path / "closed").unlink()
            assert slow.result(PATIENCE).status_code == 200
        assert server.process.wait(PATIENCE) == 0, server.process.err


def test_a_model_that_does_not_fit_ends_the_server(forked: Forks) -> None:
    process = forked.start("serve", "--port", "0", "--model", GREY, entry=WITHOUT_MEMORY)
    assert process.wait(PATIENCE) != 0
    assert "a batch_size of 2 fits" in process.err
    assert "Traceback" not in process.err
    process.close()
