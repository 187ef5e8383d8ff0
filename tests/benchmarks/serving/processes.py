"""Servers in processes of their own: new ones for a measurement, forks for a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol

import psutil  # type: ignore[import-untyped]

from tests.support.forks import DIFFAUG, ROOT
from tests.support.services import free_ports, wait_until

__all__ = [
    "Process",
    "Served",
    "Spawns",
    "Starts",
    "cpu_seconds",
    "is_ready",
    "megabytes",
    "resident",
    "served",
    "watched",
]

PATIENCE = 600


class Process(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    @property
    def err(self) -> str: ...

    def poll(self) -> int | None: ...

    def wait(self, seconds: float = ...) -> int: ...

    def send_signal(self, signum: signal.Signals) -> None: ...

    def close(self) -> None: ...


class Starts(Protocol):
    """What starts processes: `Spawns`, or `tests.support.forks.Forks`."""

    def start(
        self,
        *arguments: str | Path,
        entry: str = ...,
        cwd: Path | None = ...,
        env: Mapping[str, str] | None = ...,
    ) -> Process: ...


class Spawned:
    """A process that was started afresh, as `Forked` is one that was forked."""

    def __init__(self, process: subprocess.Popen[bytes], err: Path) -> None:
        self._process, self._err = process, err
        self.pid = process.pid

    @property
    def err(self) -> str:
        return self._err.read_text()

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self, seconds: float = PATIENCE) -> int:
        return self._process.wait(seconds)

    def send_signal(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Spawns:
    """Starts processes afresh, with as many threads as torch chooses.

    Args:
        folder: for what they print.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        *arguments: str | Path,
        entry: str = DIFFAUG,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Spawned:
        """Start a `module:function` with these arguments."""
        module, _, name = entry.partition(":")
        code = f"import sys\nfrom {module} import {name}\nsys.exit({name}())"
        self._count += 1
        err = self._folder / f"{self._count}.err"
        env = {**(env or os.environ)}
        env.pop("OMP_NUM_THREADS", None)  # which the tests set
        with err.open("wb") as to:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                cwd=cwd or ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=to,
            )
        return Spawned(process, err)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers.

    Attributes:
        process: its process.
        url: of its root.
    """

    process: Process
    url: str


@contextmanager
def served(
    starts: Starts, *arguments: str | Path, entry: str = DIFFAUG, port: int | None = None
) -> Iterator[Served]:
    """`diffaug serve`, or another server that takes --port, once its /readyz answers with 200."""
    port = port or free_ports(1)[0]
    words = ("serve", *arguments) if entry == DIFFAUG else arguments
    process = starts.start(*words, "--port", str(port), entry=entry)
    try:
        wait_until(lambda: is_ready(port), PATIENCE, f"{entry} {process.err}", process)
        yield Served(process, f"http://127.0.0.1:{port}")
    finally:
        process.close()


def is_ready(port: int) -> bool:
    """Whether a server at this port of the machine takes requests."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of its children that live, in seconds."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        used = one.cpu_times()
        total += used.user + used.system
    return total


def megabytes(pid: int) -> float:
    """Memory of a process and of its children, each shared page counted in parts (PSS)."""
    process = psutil.Process(pid)
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it ended just now
            total += one.memory_full_info().pss
    return total / 2**20


def resident(pid: int) -> float:
    """Resident memory of a process alone (RSS) in megabytes, which costs it nothing to look at."""
    size: int = psutil.Process(pid).memory_info().rss
    return size / 2**20


@contextmanager
def watched(pid: int, pause: float, measure: Callable[[int], float]) -> Iterator[list[float]]:
    """The megabytes of a process by a measure, after each pause, and once at the end."""
    found, ended = list[float](), threading.Event()

    def look() -> None:
        while not ended.wait(pause):
            found.append(measure(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
        found.append(measure(pid))
    finally:
        ended.set()
        thread.join()
