"""Real services on loopback for the tests: an S3-compatible store, and a network that fails."""

from __future__ import annotations

import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pytest

KEY = "DIFFAUGKEYHUSH0001"
SECRET = "hush-this-secret-must-be-nowhere"
"""What the tests' store is opened with, and what must be found in nothing that diffaug writes."""

BUCKET = "diffaug-tests"


@dataclass(frozen=True)
class Store:
    """An S3-compatible store.

    Attributes:
        port: where it listens on loopback.
    """

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes `s3://` mean this store, in this process or another."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self) -> Any:
        """An s3fs file system of it, that keeps nothing in mind."""
        return fsspec.filesystem(
            "s3",
            key=KEY,
            secret=SECRET,
            endpoint_url=self.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )


@contextmanager
def object_store(folder: Path) -> Iterator[Store]:
    """SeaweedFS, with one bucket, its data below `folder`."""
    # it numbers its gRPC ports by itself unless told
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
    user = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [user]}))
    (folder / "data").mkdir(exist_ok=True)
    command = [str(Path(sys.executable).with_name("weed")), "server", "-s3", "-ip=127.0.0.1"]
    command += ["-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", f"-s3.config={folder / 's3.json'}"]
    command += ["-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # fixed ports, of no use here
    command += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
        store = Store(ports["s3.port"])
        try:
            wait_until(
                lambda: _has_bucket(store), 300, f"SeaweedFS; its log is {log.name}", process
            )
            yield store
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _has_bucket(store: Store) -> bool:
    if not listens(store.port):
        return False
    files = store.files()
    try:
        files.mkdir(BUCKET)
        files.pipe_file(f"{BUCKET}/.up", b"up")  # there is a volume to write to
        files.rm_file(f"{BUCKET}/.up")
    except OSError:
        return False
    return True


def use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `s3://` lead to a store, for this process and those it starts."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()


_PORTS = 20_000, 32_000
_RANDOM = random.SystemRandom()  # tests seed the common one


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nothing uses.

    They are below those that the system gives to connections, which could take one before the
    server listens at it.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            one, port = stack.enter_context(socket.socket()), _RANDOM.randrange(*_PORTS)
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Polled(Protocol):
    """A process, whoever started it."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""


def wait_until(
    true: Callable[[], bool],
    seconds: float,
    what: str | Callable[[], str],
    process: Polled | None = None,
) -> None:
    """Wait for something to become true, while a process that is to make it so is alive."""
    deadline = time.monotonic() + seconds
    while not true():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > deadline:
            raise AssertionError(f"did not come up: {what() if callable(what) else what}")
        time.sleep(0.2)


FAULTS = ("refused", "unavailable", "unanswered", "cut", "slow")
"""What goes wrong: the connection is reset unread; 503; the request is done and its answer lost;
the answer breaks off half-way, with a reset; it trickles."""


@contextmanager
def bad_network(
    store: Store, share: float, seed: int = 0, faults: Sequence[str] = FAULTS
) -> Iterator[tuple[Store, Counter[str]]]:
    """The store behind a proxy that lets a share of all requests go wrong, by a seeded draw.

    Yields the store as it is seen through the proxy, and how often each fault was made.
    """
    draws, turns = random.Random(seed), cycle(faults)
    made, lock = Counter[str](), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            with lock:
                fault = next(turns) if draws.random() < share else ""
                made[fault or "none"] += 1
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if fault == "refused":
                return self._reset()
            if fault == "unavailable":
                return self._answer(503, [], b"<Error><Code>ServiceUnavailable</Code></Error>")
            upstream = HTTPConnection("127.0.0.1", store.port, timeout=60)
            try:
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    if name.lower() != "expect":
                        upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                data, headers = answer.read(), answer.getheaders()
            except (OSError, HTTPException):
                return self._reset()
            finally:
                upstream.close()
            if fault == "unanswered":
                return self._reset()
            self._answer(answer.status, headers, data, fault)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

        def _answer(
            self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str = ""
        ) -> None:
            self.send_response_only(status)
            kept = {name: value for name, value in headers if name.lower() != "transfer-encoding"}
            if self.command != "HEAD":
                kept = {n: v for n, v in kept.items() if n.lower() != "content-length"}
                kept["Content-Length"] = str(len(data))
            for name, value in kept.items():
                self.send_header(name, value)
            self.end_headers()
            if fault == "cut":
                self.wfile.write(data[: len(data) // 2])
                return self._reset()
            if fault == "slow":
                half = len(data) // 2
                self.wfile.write(data[:half])
                self.wfile.flush()
                time.sleep(0.3)
                data = data[half:]
            self.wfile.write(data)

        def _reset(self) -> None:
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)  # close with a reset, not a farewell
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """The client gave up on its side: not of interest."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Store(int(server.server_address[1])), made
    finally:
        server.shutdown()
        server.server_close()
