"""Hostile requests over sockets to a real server: each is answered, and none holds the others."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.support import watched
from tests.support.forks import Forks
from tests.support.hostile_requests import MARK, PICTURE, REQUESTS, get, post
from tests.support.serving import PATIENCE, Server, recipe_file, serving

pytestmark = pytest.mark.services

TINY: dict[str, Any] = {"model": "fashion-mnist-32", "strength": 0.02, "detail": "none"}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all is written down that the server opens."""
    return tmp_path_factory.mktemp("watch") / "opened"


@pytest.fixture(scope="module")
def server(
    forked: Forks, tmp_path_factory: pytest.TempPathFactory, watch: Path
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile-http")
    recipe = recipe_file(folder, "tiny", **TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(watched.NAME, str(watch))
        options = ("--recipe", recipe, "--cache", folder / "cache", "--drain", str(PATIENCE))
        with serving(forked, *options, entry=f"{watched.__name__}:main") as server:
            yield server


def connected(server: Server, data: bytes) -> socket.socket:
    """A connection over which this was sent, or as much of it as the server took."""
    connection = socket.create_connection(server.address, timeout=PATIENCE)
    with suppress(ConnectionError):
        connection.sendall(data)
    return connection


def answered(server: Server, data: bytes, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    with connected(server, data) as connection, HTTPResponse(connection, method=method) as answer:
        answer.begin()
        return answer, answer.read()


@pytest.mark.parametrize("name", REQUESTS)
def test_each_is_answered_in_words(server: Server, name: str) -> None:
    asked = REQUESTS[name]
    method = asked.data[: asked.data.find(b" ")].decode("latin-1")
    answer, body = answered(server, asked.data, method)
    assert answer.status == asked.status, body
    assert "x-evil" not in answer.headers
    if asked.code is None:
        assert answer.headers["content-type"] in ("image/png", "text/plain; charset=utf-8")
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        if method != "HEAD":
            problem = json.loads(body)
            assert (problem["status"], problem["code"]) == (asked.status, asked.code)
            assert len(problem["detail"]) > 8
    assert "Traceback" not in server.process.err


def test_what_is_sent_in_a_row_is_answered_in_a_row(server: Server) -> None:
    kept = post().replace(b"Connection: close\r\n", b"")
    with connected(server, kept * 3 + post()) as connection, connection.makefile("rb") as answers:
        received = answers.read()  # up to the end, which the last request asks for
    _, *each = received.split(b"HTTP/1.1 ")
    assert [one.partition(b"\r\n")[0] for one in each] == [b"200 OK"] * 4
    assert [one.count(b"\x89PNG") for one in each] == [1] * 4


def test_what_a_key_says_is_in_the_row_and_is_no_header(server: Server) -> None:
    answer, _ = answered(server, REQUESTS["header_in_key"].data)
    assert json.loads(answer.headers["diffaug-row"])["source_key"].startswith("\r\nX-Evil: yes")


def test_nothing_that_a_client_names_is_opened(server: Server, watch: Path) -> None:
    """Neither a file nor a URL, of which requests above and these are full."""
    for name in ("key", "label_text", "recipe", "model", "mask_key"):
        for text in (MARK, f"../..{MARK}", f"file://{MARK}", f"http://169.254.169.254{MARK}"):
            answered(server, post(f"{name}={text}"))
    answered(server, get(f"/v1/augmented{MARK}"))
    answered(server, get(f"/v1/augmented/{MARK[1:]}"))
    opened = [json.loads(line) for line in watch.read_text().splitlines()]
    assert any(".result" in str(event) for event in opened)  # the cache's: it does watch
    assert not [event for event in opened if MARK[1:] in str(event)]
    assert {"open"} <= {name for name, *_ in opened}
    assert not [event for event in opened if event[0].startswith(("socket.", "subprocess."))]


HALF = post()[: -len(PICTURE) // 2]
KEEPING: dict[str, bytes] = {
    "nothing": b"",
    "half a line": b"POST /v1/aug",
    "half a head": post()[:100],
    "no body": post()[: -len(PICTURE)],
    "half a body": HALF,
    "no chunk": post("", "Transfer-Encoding: chunked", body=b"", length=False),
    "half a chunk": post("", "Transfer-Encoding: chunked", body=b"ff\r\nab", length=False),
    "expects": post("", "Expect: 100-continue")[: -len(PICTURE)],
    "reads no answer": post("copy=7"),
    "reads no answers": post("copy=8").replace(b"Connection: close\r\n", b"") * 20,
}


def test_who_keeps_connections_keeps_nobody_from_work(
    server: Server,
) -> None:
    """Fifty of them; an ordinary request is answered meanwhile, and so is a signal to end."""
    with ExitStack() as stack:
        kept = {
            (name, number): stack.enter_context(connected(server, data))
            for number in range(5)
            for name, data in KEEPING.items()
        }
        for number in range(5):  # and those that leave without a word
            with connected(server, post(f"copy={100 + number}")) as connection:
                reset = b"\1\0\0\0\0\0\0\0"  # on, and no time: closing resets
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        assert server.post(PICTURE, copy=9).status_code == 200
        assert server.is_ready()
        for (name, _), connection in kept.items():
            if not name.startswith(("reads", "expects")):
                connection.setblocking(False)
                with pytest.raises(BlockingIOError):  # as open as before
                    connection.recv(1)
        for (name, _), connection in kept.items():
            if not name.startswith("reads"):
                connection.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0, server.process.err
        assert "Traceback" not in server.process.err
