"""What a process does that runs flows, one after the other."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Run the flows that `sys.argv` names as JSON, `[[name, parameters], …]`.

    The last line printed is how each ended, `[[type, message], …]`.
    """
    ended = []
    for name, parameters in json.loads(sys.argv[1]):
        module = name.replace("-", "_")
        flow = getattr(importlib.import_module(f"flows.{module}"), module)
        state = flow(**parameters, return_state=True)
        ended.append([state.type.value, state.message])
    print(json.dumps(ended))
