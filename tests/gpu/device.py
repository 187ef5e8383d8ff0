"""Every check of `checks.py` on one device, models and number types; the last line is JSON.

`python -m tests.gpu.device --device cuda`. A check that fails, or raises, is an entry like the
others, and the next one is made. Exits with 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.gpu.checks import CHECKS, MODELS, Subject

__all__ = ["main"]

ONCE = ("workers", "in_memory", "trains")
"""Checks that say nothing more of a second model."""

SMALL = ("slots", "replay")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true", help="two checks a model, in float32")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffaug-device-") as name:
        entries = []
        for entry in checked(Path(name), asked.device, small=asked.small):
            entries.append(entry)
            print({name: value for name, value in entry.items() if value}, flush=True)
    print(json.dumps({"checks": entries}))
    return int(not all(entry["ok"] for entry in entries))


def checked(folder: Path, device: str, *, small: bool) -> Iterator[dict[str, Any]]:
    """An entry for each check, as it is made."""
    for model in MODELS:
        for dtype in ("float32",) if small else ("float32", "bfloat16"):
            subject = Subject(
                model=model,
                device=device,
                dtype=dtype,
                folder=folder / f"{model}-{dtype}",
                count=12 if small else 100,
                batch_size=8 if small else 32,
            )
            for check in CHECKS:
                if check in SMALL if small else check not in ONCE or model == MODELS[0]:
                    yield entry_of(check, subject)


def entry_of(check: str, subject: Subject) -> dict[str, Any]:
    """What one check found, or how it failed."""
    about = {"check": check, "model": subject.model, "dtype": subject.dtype}
    started = time.monotonic()
    try:
        found = CHECKS[check](subject)
        told = asdict(found) | {"ok": found.ok, "error": ""}
    except Exception as error:  # whatever it is, it is this check's result
        traceback.print_exc()
        told = {"ok": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    return about | told | {"seconds": round(time.monotonic() - started, 2)}


if __name__ == "__main__":
    sys.exit(main())
