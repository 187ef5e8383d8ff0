"""Clients of a Prefect server, and Prefect's own command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PREFECT = str(Path(sys.executable).with_name("prefect"))


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
    environment: dict[str, str], folder: Path, *arguments: str, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run Prefect's own command line."""
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
