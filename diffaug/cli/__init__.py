"""The command line. Exit codes: 0 done; 1 failures or differences; 2 usage or configuration."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import signal
import sys

from cyclopts import CycloptsError

from diffaug.cli import (  # noqa: F401  each registers its commands
    augment,
    compact,
    distill,
    doctor,
    evaluate,
    export,
    models,
    pack,
    report,
    sample,
    serve,
    train,
    try_,
    verify,
)
from diffaug.cli.allocator import keep_freed_memory
from diffaug.cli.app import DIFFERS, OK, SIGNALLED, USAGE, app, err
from diffaug.cli.console import PrintError
from diffaug.errors import ConfigError, DiffaugError

__all__ = ["app", "main"]


class _Warnings(logging.Handler):
    """Prints what the library logs as the command prints its own messages, in JSON too."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(self.format(record), record.levelname.lower())


_WARNINGS = _Warnings(logging.WARNING)


def main() -> None:
    """Run the command line; each of the user's mistakes ends in one sentence."""
    if sys.platform == "win32":
        sys.exit(_print("Windows is unsupported: run it on Linux", USAGE))
    signal.signal(signal.SIGTERM, _stop)
    # torch and diffusers create half a million permanent objects: repeatedly scanning them takes a
    # fifth of the time of a short command
    gc.set_threshold(100_000)
    keep_freed_memory()
    logging.getLogger("diffaug").addHandler(_WARNINGS)
    atexit.register(gc.freeze)
    code = _run(sys.argv[1:])
    try:
        if sys.stdout is not None:  # as it is where the caller closed it
            sys.stdout.flush()
    except OSError:  # and it would fail again, with a traceback, as the interpreter ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        code = code or DIFFERS
    sys.exit(code)


def _stop(signum: int, _: object) -> None:
    raise KeyboardInterrupt(signum)


def _run(tokens: list[str]) -> int:
    try:
        code = app.meta(tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return USAGE  # cyclopts has printed it
    except ConfigError as error:
        return _print(error, USAGE)
    except DiffaugError as error:
        return _print(error, DIFFERS)
    except PrintError as error:
        return _print(f"cannot write to standard output: {error.strerror}", DIFFERS)
    except OSError as error:
        cure = "What was committed is kept; run it again (train with --resume)"
        return _print(f"storage failed: {error}. {cure}", DIFFERS)
    except KeyboardInterrupt as interrupt:
        signum = next(iter(interrupt.args), signal.SIGINT)
        return _print(
            "interrupted; the same command continues from there (train with --resume)",
            SIGNALLED + int(signum),
        )
    return code if isinstance(code, int) else OK


def _print(error: object, code: int) -> int:
    with contextlib.suppress(PrintError):  # then the exit code alone tells
        err.print(f"diffaug: {error}", "error")
    return code
