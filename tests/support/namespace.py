"""Disks that a user may mount: in a namespace of their own, which a process keeps while it waits.

`main` is an entry for `tests.support.forks`: it enters the namespace of the process that its first
argument names, and is then the command that the others make.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["main", "own_mounts"]


@contextmanager
def own_mounts(trial: Path) -> Iterator[int | None]:
    """A process with mounts of its own, by its id; None where the system allows a user none.

    Args:
        trial: a folder to mount a disk at, to find that out.
    """
    script = 'mount -t tmpfs tmpfs "$0" && echo && exec cat'  # a line: all is ready
    if shutil.which("unshare") is None:
        yield None
        return
    process = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script, str(trial)],
        stdin=subprocess.PIPE,  # it ends with this process, whatever that ends of
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        able = process.stdout.readline() == b"\n"
        try:
            yield process.pid if able else None
        finally:
            process.kill()
            process.wait()


def main() -> int:
    """Run a command where the mounts are those of a process; its exit status."""
    pid, *command = sys.argv[1:]
    folder, libc = Path.cwd(), ctypes.CDLL(None, use_errno=True)
    for kind in ("user", "mnt"):
        descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        if libc.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), f"setns to the {kind} namespace of {pid}")
    os.chdir(folder)  # it was left with the mounts
    if command[0] != "diffaug":
        return subprocess.call(command)
    from diffaug.cli import main as diffaug

    sys.argv = command
    diffaug()
    return 0
