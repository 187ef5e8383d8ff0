"""What the server does under load: the bytes, the rate, the refusals, the kills, a training.

    python -m tests.benchmarks.serve same
    python -m tests.benchmarks.serve saturation
    python -m tests.benchmarks.serve overload
    python -m tests.benchmarks.serve kills
    python -m tests.benchmarks.serve training

Each prints Markdown and, with --json FILE, writes the same as JSON. The clients run in a process of
their own. `same`, `kills` and `overload` raise if something is not as it must be; nothing is
asserted about time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffaug.execution import Execution, device_class
from tests.benchmarks.serving.kills import kills
from tests.benchmarks.serving.load import apart
from tests.benchmarks.serving.overload import overload
from tests.benchmarks.serving.pictures import COLOUR, GREY
from tests.benchmarks.serving.processes import Spawns
from tests.benchmarks.serving.same import same
from tests.benchmarks.serving.saturation import saturation
from tests.benchmarks.serving.tables import Tables, markdown, write_json
from tests.benchmarks.serving.training import training

_MEASURES: dict[str, Callable[..., Tables]] = {
    "same": same,
    "saturation": saturation,
    "overload": overload,
    "kills": kills,
    "training": training,
}
_WITH_CLIENTS = ("same", "saturation", "overload")


def main() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # the tests that it imports have one
    given = vars(_arguments())
    name, to = given.pop("measure"), given.pop("json")
    with tempfile.TemporaryDirectory(prefix="diffaug-serve-") as temporary:
        folder = Path(temporary)
        clients = {"loads": partial(apart, folder=folder)} if name in _WITH_CLIENTS else {}
        began = time.monotonic()
        tables = _MEASURES[name](Spawns(folder / "logs"), folder, **clients, **given)
    print(markdown(tables))
    machine: dict[str, Any] = {"device_class": device_class(Execution.choose().device)}
    machine |= {"cores": torch.get_num_threads()}
    settings = given | machine | {"seconds": round(time.monotonic() - began)}
    print(f"\n{name}: {settings}")
    if to is not None:
        write_json(to, name, settings, tables)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", type=Path, help="where the tables are written")
    common.add_argument("--batch-size", type=int, default=32)
    found = parser.add_subparsers(dest="measure", required=True)

    def add(name: str, text: str, model: str, **numbers: Any) -> argparse.ArgumentParser:
        one = found.add_parser(name, help=text, parents=[common])
        one.add_argument("--model", choices=(GREY, COLOUR), default=model)
        for option, default in numbers.items():
            one.add_argument(f"--{option.replace('_', '-')}", type=type(default), default=default)
        return one

    add("same", "bytes, beside a job's", GREY, count=500, clients=16, steps=10, pause=0.5)
    rates: dict[str, Any] = {"count": 512, "rounds": 3, "steps": 10, "drawn_steps": 20}
    rates |= {"static_batch_size": 32}
    full = add("saturation", "rates, beside a job and a static server", COLOUR, **rates)
    full.add_argument("--pads", action="store_true", help="the static server's last rows")
    add("overload", "refusals", GREY, seconds=120.0, steps=10, max_wait=8.0, first=256)
    add("kills", "SIGKILLs under an epoch", GREY, kills=100, count=200, gap=20, steps=10)
    add("training", "a loader fed by a server", GREY, count=512, epochs=2, batch=64, steps=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
