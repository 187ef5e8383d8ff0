"""Processes that have all their imports when they start: forks of one that imported them once.

A command spends most of its seconds on importing torch and diffusers. A server process imports
them, and forks for each command that the tests start; the fork then becomes that command, with
its own arguments, environment, folder and streams. The server has no threads and has run no
network, so that a fork is like a new process, but for its modules.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

DIFFAUG = "diffaug.cli:main"

LANES = 4
"""The default batch size here and in forks: lanes that no picture fills are computed as well."""

MODULES = (
    *("diffusers", "pandas", "s3fs", "torch"),
    *(f"diffaug.audit.{name}" for name in ("clean", "replay", "verify")),
    *("diffaug.evaluation.images.prepare", "diffaug.evaluation.trials.run"),
    *(f"diffaug.job.{name}" for name in ("augment", "finish", "plan")),
    *("diffaug.models.families.unet2d", "diffaug.output.summary", "diffaug.report"),
    "diffaug.train.loop",
)
"""What commands import late."""


_LEASE, _FORK = b"l", b"f"
"""What is asked of the server: to stay while the connection lasts; to fork."""


class Forked:
    """A process that was forked, as `subprocess.Popen` would give it.

    Attributes:
        pid: its process id.
    """

    def __init__(self, connection: socket.socket, out: Path, err: Path) -> None:
        self._connection, self._out, self._err = connection, out, err
        self._answers = connection.makefile("r")
        self._code: int | None = None
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._code is None and self._has_answered(0):
            self._read_code()
        return self._code

    def wait(self, seconds: float = 480) -> int:
        """The exit status, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after so many seconds.
        """
        if self._code is None and not self._has_answered(seconds):
            raise subprocess.TimeoutExpired("a forked process", seconds)
        return self._code if self._code is not None else self._read_code()

    def send_signal(self, signum: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return self._err.read_text()

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.kill()
        self._answers.close()
        self._connection.close()

    def _has_answered(self, seconds: float) -> bool:
        self._connection.settimeout(seconds or None)
        flags = socket.MSG_PEEK | (0 if seconds else socket.MSG_DONTWAIT)
        try:
            self._connection.recv(1, flags)
        except (BlockingIOError, TimeoutError):
            return False
        finally:
            self._connection.settimeout(None)
        return True

    def _read_code(self) -> int:
        self._code = int(self._answers.readline())
        return self._code


class Forks:
    """Starts processes by a server that forks.

    Args:
        folder: for what the processes write.
        address: where the server listens.
        log: what it prints.
        environment: of a process that is started without one of its own; by default, that of
            the tests at the moment.
    """

    def __init__(
        self, folder: Path, address: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._address, self._log = address, log
        self._folder, self._environment = folder, environment
        self._started: list[Forked] = []

    def of(self, folder: Path, environment: Mapping[str, str]) -> Forks:
        """Starts processes by the same server, in another environment."""
        return Forks(folder, self._address, self._log, environment)

    def __call__(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line with these arguments to its end."""
        process = self.start(*arguments, **options)
        code = process.wait()
        process.close()
        return subprocess.CompletedProcess(arguments, code, process.out, process.err)

    def start(
        self,
        *arguments: str | Path,
        entry: str = DIFFAUG,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Forked:
        """Start the command line, or another `module:function`, with these arguments.

        Args:
            arguments: after the program's name.
            entry: what to call; what it returns is the exit status, as of a console script.
            cwd: its current folder.
            env: its environment.
        """
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._address)
        except ConnectionRefusedError:
            raise AssertionError(f"the fork server ended:\n{self._log.read_text()}") from None
        out, err = (self._folder / f"{len(self._started)}.{name}" for name in ("out", "err"))
        with out.open("wb") as to_out, err.open("wb") as to_err:
            socket.send_fds(connection, [_FORK], [to_out.fileno(), to_err.fileno()])
        name, *_ = entry.partition(".")
        asked = {
            "arguments": [name, *map(str, arguments)],
            "entry": entry,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(env or self._environment or os.environ),
        }
        connection.sendall(json.dumps(asked).encode() + b"\n")
        process = Forked(connection, out, err)
        self._started.append(process)
        return process

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            process.close()


@contextmanager
def fork_server(
    folder: Path,
    modules: Sequence[str] = MODULES,
    environment: Mapping[str, str] | None = None,
    shared: Path | None = None,
) -> Iterator[Forks]:
    """A process that has imported modules, and forks for each that is started with what it yields.

    Args:
        folder: for what the processes write.
        modules: to import.
        environment: of the server, and of what is started without one of its own.
        shared: the folder of the server, by default the same: who names the same folder shares
            it, also from another process, and it ends with the last of them.
    """
    shared = shared or folder
    name = hashlib.sha256(str(shared).encode()).hexdigest()[:16]
    address = f"\0diffaug-forks-{name}"  # no file, whose path might be too long
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        while (lease := _lease(address)) is None:
            _start(shared, address, modules, environment or os.environ)
    forks = Forks(folder, address, shared / "server.log", environment)
    try:
        yield forks
    finally:
        forks.close()
        lease.shutdown(socket.SHUT_RDWR)  # what a test forked, a loader's worker, may hold it too
        lease.close()


def _lease(address: str) -> socket.socket | None:
    """A connection; while it lasts, the server stays. None if there is no server."""
    lease = socket.socket(socket.AF_UNIX)
    with suppress(ConnectionError):
        lease.connect(address)
        lease.sendall(_LEASE)
        if lease.recv(1) == _LEASE:
            return lease
    lease.close()
    return None


def _start(
    folder: Path, address: str, modules: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Start a server; it leaves this process once it listens."""
    with (folder / "server.log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.support.forks", address.removeprefix("\0"), *modules],
            cwd=ROOT,
            env={**environment, "OMP_NUM_THREADS": "1"},  # threads bar a fork
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


# --- in the server


def _serve(listener: socket.socket) -> Callable[[], int | None]:
    """Fork for all that is asked for; returns in a process that was, with what it is to call."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    leases: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *leases], [], [])
        for ended in set(ready) - {listener}:
            leases.remove(ended)
            ended.close()
            if not leases:
                os._exit(0)
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        asked, streams, *_ = socket.recv_fds(connection, 1, 2)
        if asked == _LEASE:
            leases.append(connection)
            connection.sendall(_LEASE)
        elif asked == _FORK and os.fork() == 0:
            for one in (listener, *leases):
                one.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _forked(connection.detach(), *streams)
        else:
            connection.close()
            for stream in streams:
                os.close(stream)


def _forked(connection: int, out: int, err: int) -> Callable[[], int | None]:
    """Fork again and wait, to tell how it ended; returns in the second process."""
    channel = socket.socket(fileno=connection)
    with channel.makefile("rw") as stream:
        asked = json.loads(stream.readline())
        child = os.fork()
        if child:
            os.close(out)
            os.close(err)
            stream.write(f"{child}\n")
            stream.flush()
            _, status = os.waitpid(child, 0)
            stream.write(f"{os.waitstatus_to_exitcode(status)}\n")
            stream.flush()
            os._exit(0)
    channel.close()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = asked["arguments"]
    if context := sys.modules.get("prefect.context"):
        context.refresh_global_settings_context()
    module, _, name = asked["entry"].partition(":")
    function: Callable[[], int | None] = getattr(importlib.import_module(module), name)
    return function


def _main() -> int | None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{sys.argv[1]}")
    listener.listen(128)  # from now on, whoever asks is answered once all is imported
    if os.fork():
        os._exit(0)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    if execution := sys.modules.get("diffaug.execution"):
        execution.__dict__["DEFAULT_BATCH_SIZE"] = LANES
    gc.collect()
    gc.freeze()  # no fork's collection looks at what was imported, and so copies none of it
    return _serve(listener)()


def _end(main: Callable[[], int | None]) -> None:
    """Call what a program consists of, and end: as Python does where it returns, exits or raises an
    exception, but for the freeing of memory.

    A fork shares the pages of its modules, and would copy each to count down what it holds.
    """
    code: str | int | None = 1
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as Python does
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _end(_main)
