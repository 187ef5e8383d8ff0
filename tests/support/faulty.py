"""A proxy in front of a server, whose answers go wrong in the order that a test says."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

__all__ = ["Faulty", "faulty", "refusal"]

Fault = str | Callable[[httpx.Response], httpx.Response]


def refusal(status: int, code: str = "test", **headers: str) -> Fault:
    """The answer of a server that does not take a request."""
    said = {"code": code, "detail": "the test says so"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, headers=named, json=said)


class Faulty:
    """The proxy.

    Attributes:
        url: where it listens.
        upstream: where it passes requests on to.
        faults: what happens to the next requests of a path: `cut` breaks the answer off half-way,
            with a reset; `drop` resets the connection instead; a function changes the answer.
        always: what happens to each request of a path after those.
        asked: how many requests of each path there were.
    """

    def __init__(self, url: str, upstream: str) -> None:
        self.url, self.upstream = url, upstream
        self.faults: dict[str, deque[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.asked = Counter[str]()

    def next_fault(self, path: str) -> Fault | None:
        self.asked[path] += 1
        waiting = self.faults.get(path)
        return waiting.popleft() if waiting else self.always.get(path)


@contextmanager
def faulty(upstream: str) -> Iterator[Faulty]:
    """A proxy to a server, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.next_fault(self.path.partition("?")[0])
            if fault == "drop":
                return self._reset()
            sent = {name: value for name, value in self.headers.items() if name != "Host"}
            answer = client.request(
                self.command, proxy.upstream + self.path, content=body, headers=sent
            )
            if callable(fault):
                answer = fault(answer)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if fault == "cut":
                self.wfile.write(answer.content[: len(answer.content) // 2])
                return self._reset()
            self.wfile.write(answer.content)

        do_GET = do_POST = handle_any  # noqa: N815

        def _reset(self) -> None:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """The client gave up on its side: not of interest."""

    server = Server(("127.0.0.1", 0), Handler)
    proxy = Faulty(f"http://127.0.0.1:{server.server_address[1]}", upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    # a kept connection could be closed by the server at the moment of its next use
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(timeout=600, limits=limits) as client:
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
