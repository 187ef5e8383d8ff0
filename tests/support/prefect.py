"""Clients of a Prefect server, and Prefect's own command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.forks import Forks

PREFECT = str(Path(sys.executable).with_name("prefect"))


CLI = tuple(
    f"prefect.cli{name}" for name in ("", ".automation", ".deploy", ".deployment", ".work_pool")
)
"""What a server that forks must have imported for `prefect` to be quick."""


def client_of(url: str, home: Path) -> dict[str, str]:
    """The environment of a client of the server at `url`, which has nothing to do with others."""
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }


def prefect(
    environment: dict[str, str],
    folder: Path,
    *arguments: str,
    expect: int = 0,
    forks: Forks | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Prefect's own command line: in a new process, or in one that is forked."""
    if forks is not None:
        done = forks(*arguments, entry="prefect.cli:app", cwd=folder, env=environment)
    else:
        done = subprocess.run(
            [PREFECT, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
    assert done.returncode == expect, done.stdout + done.stderr
    return done
