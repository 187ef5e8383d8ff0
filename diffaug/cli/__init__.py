"""The command line. Exit codes: 0 done; 1 failures or differences; 2 usage or configuration."""

from __future__ import annotations

import atexit
import gc
import signal
import sys

from cyclopts import CycloptsError

from diffaug.cli import (  # noqa: F401  each registers its commands
    augment,
    compact,
    doctor,
    evaluate,
    export,
    models,
    pack,
    report,
    sample,
    train,
    verify,
)
from diffaug.cli.app import DIFFERS, OK, SIGNALLED, USAGE, app, err
from diffaug.errors import ConfigError, DiffaugError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; every mistake of the user ends in one sentence."""
    if sys.platform == "win32":
        sys.exit(_say("Windows is unsupported: run it on Linux", USAGE))
    signal.signal(signal.SIGTERM, _stop)
    gc.set_threshold(100_000)  # torch and diffusers bring half a million objects, which all stay:
    atexit.register(gc.freeze)  # to search them over and over takes a fifth of a short command
    sys.exit(_run(sys.argv[1:]))


def _stop(signum: int, _: object) -> None:
    raise KeyboardInterrupt(signum)


def _run(tokens: list[str]) -> int:
    try:
        code = app.meta(tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return USAGE  # cyclopts has said it
    except ConfigError as error:
        return _say(error, USAGE)
    except DiffaugError as error:
        return _say(error, DIFFERS)
    except OSError as error:
        return _say(f"storage failed: {error}. What was committed stays; run it again", DIFFERS)
    except KeyboardInterrupt as interrupt:
        signum = next(iter(interrupt.args), signal.SIGINT)
        return _say(
            "interrupted; the same command goes on from there (train with --resume)",
            SIGNALLED + int(signum),
        )
    return code if isinstance(code, int) else OK


def _say(error: object, code: int) -> int:
    err.say(f"diffaug: {error}", "error")
    return code
