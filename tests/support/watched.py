"""The command line, with every file, connection and process that it opens written down.

An entry for `tests.support.forks`. `DIFFAUG_TEST_WATCH` names a file that has a line of JSON for
each. A server waits for its clients as long as a test likes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

NAME = "DIFFAUG_TEST_WATCH"

_EVENTS = ("open", "os.", "pathlib.", "socket.connect", "socket.getaddrinfo", "subprocess.")


def main() -> None:
    """Run the command line."""
    from diffaug.cli import main as command
    from diffaug.serve import bodies, impatient, inflow

    for module in (bodies, impatient, inflow):
        vars(module)["PATIENCE"] = 1e6
    log = os.open(os.environ[NAME], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_EVENTS):
            os.write(log, json.dumps([event, *map(str, arguments)]).encode() + b"\n")

    sys.addaudithook(watch)
    sys.argv[0] = "diffaug"
    command()
