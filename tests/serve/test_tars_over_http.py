"""Shards over a real connection: clients that read late or early, and a server that ends."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.conversations import contents
from tests.support.forks import Forks
from tests.support.hostile import END, blocks, png
from tests.support.jobs import GREY
from tests.support.services import wait_until
from tests.support.serving import PATIENCE, Server, recipe_file, serving

pytestmark = pytest.mark.services

RECIPE: dict[str, Any] = {"model": GREY, "strength": 0.4, "steps": 4, "copies": 2, "carry": "bin"}
TAR = {"Content-Type": "application/x-tar"}
LARGE = 2**20
"""Bytes that are carried with each copy: those of a few fill every buffer between the two sides."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipe_file(tmp_path_factory.mktemp("recipes"), "one", **RECIPE)


@pytest.fixture(scope="module")
def server(forked: Forks, recipe: Path) -> Iterator[Server]:
    with serving(forked, "--recipe", recipe) as server:
        yield server


def piece(number: int, size: int = 0) -> bytes:
    """A sample of a shard."""
    files = [(f"{number:04d}.png", png(number)), (f"{number:04d}.bin", bytes(size))]
    return blocks(files if size else files[:1])


def test_a_client_that_reads_after_it_has_sent_everything(server: Server) -> None:
    data = b"".join(piece(number, LARGE) for number in range(24)) + END
    answer = server.client.post("/v1/augment", content=data, headers=TAR)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    names = [f"{number:04d}-a{copy}" for number in range(24) for copy in range(2)]
    assert [*contents(answer.content)] == [
        f"{name}.{extension}" for name in names for extension in ("png", "bin", "diffaug.json")
    ]


class Exchange:
    """A request that is sent in chunks, and read whenever the test likes."""

    def __init__(self, server: Server) -> None:
        url = httpx.URL(server.url)
        self._socket = socket.create_connection((url.host, url.port or 80), PATIENCE)
        self._socket.sendall(
            b"POST /v1/augment HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        self.received = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self._socket.sendall(b"0\r\n\r\n")

    def read_until(self, part: bytes) -> None:
        while part not in self.received:
            more = self._socket.recv(2**16)
            assert more, "the answer ended"
            self.received += more

    def tar(self) -> bytes:
        """The body of the answer, which has ended."""
        _, _, rest = self.received.partition(b"\r\n\r\n")
        found = b""
        while (size := int(rest.partition(b"\r\n")[0], 16)) > 0:
            rest = rest.partition(b"\r\n")[2]
            found, rest = found + rest[:size], rest[size + 2 :]
        return found

    def close(self) -> None:
        self._socket.close()


def test_a_client_that_reads_while_it_sends(server: Server) -> None:
    exchange = Exchange(server)
    exchange.send(piece(0) + piece(1))
    exchange.read_until(b"0000-a1.png")
    assert b"0001-a0" not in exchange.received
    exchange.send(piece(2))
    exchange.read_until(b"0001-a1.png")
    exchange.send(END)
    exchange.end()
    exchange.read_until(b"\r\n0\r\n\r\n")
    assert len(contents(exchange.tar())) == 12
    exchange.close()


def test_a_client_that_goes_away_leaves_nothing_behind(server: Server) -> None:
    exchange = Exchange(server)
    exchange.send(piece(0) + piece(1))
    exchange.read_until(b"0000-a1.png")
    exchange.close()
    wait_until(lambda: 'reason="gone"' in server.client.get("/metrics").text, PATIENCE, "the end")
    assert server.count("diffaug_queue_seconds") == 0


def test_after_sigterm_a_shard_is_read_and_answered_to_its_end(forked: Forks, recipe: Path) -> None:
    with serving(forked, "--recipe", recipe, "--drain", str(PATIENCE)) as server:
        exchange = Exchange(server)
        exchange.send(piece(0) + piece(1))
        exchange.read_until(b"0000-a1.png")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.is_ready(), PATIENCE, "the signal")
        exchange.send(piece(2) + END)
        exchange.end()
        exchange.read_until(b"\r\n0\r\n\r\n")
        found = contents(exchange.tar())
        exchange.close()
        assert server.process.wait(PATIENCE) == 0, server.process.err
    rows = {name: json.loads(data) for name, data in found.items() if name.endswith("json")}
    codes = {name.partition(".")[0]: row.get("reason_code") for name, row in rows.items()}
    assert codes == {
        **dict.fromkeys(("0000-a0", "0000-a1")),
        **dict.fromkeys(("0001-a0", "0001-a1", "0002-a0", "0002-a1"), "not_ready"),
    }
