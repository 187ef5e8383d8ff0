"""What the server does under load: the bytes, the rate, the refusals, the kills, a training.

    python -m tests.benchmarks.serve same
    python -m tests.benchmarks.serve saturation

Each prints Markdown and, with --json FILE, writes the same as JSON. The clients run in a process of
their own. `same`, `kills` and `overload` raise if something is not as it must be; nothing is
asserted about time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffaug.execution import Execution, device_class
from tests.benchmarks.serving.load import Load, Loaded, apart
from tests.benchmarks.serving.pictures import COLOUR, GREY
from tests.benchmarks.serving.processes import Spawns
from tests.benchmarks.serving.same import same
from tests.benchmarks.serving.saturation import saturation
from tests.benchmarks.serving.tables import Tables, markdown, write_json


def main() -> None:
    given = vars(_arguments())
    name, to = given.pop("measure"), given.pop("json")
    measure = {"same": same, "saturation": saturation}[name]
    with tempfile.TemporaryDirectory(prefix="diffaug-serve-") as temporary:
        folder = Path(temporary)
        loads = partial(_apart, folder=folder)
        began = time.monotonic()
        tables: Tables = measure(Spawns(folder / "logs"), folder, loads=loads, **given)
    print(markdown(tables))
    machine = {"device_class": device_class(Execution.choose().device), "cores": _cores()}
    settings = given | machine | {"seconds": round(time.monotonic() - began)}
    print(f"\n{name}: {settings}")
    if to is not None:
        write_json(to, name, settings, tables)


def _apart(loads: Sequence[Load], folder: Path) -> Loaded:
    return apart(loads, folder)


def _cores() -> int:
    import torch

    return torch.get_num_threads()


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

    add("same", "bytes", GREY, count=500, clients=16, steps=10, pause=0.5)
    numbers = {"count": 512, "rounds": 3, "steps": 10, "drawn_steps": 20, "clients": 128}
    full = add("saturation", "rates", COLOUR, **numbers)
    full.add_argument("--pads", action="store_true", help="of the static server")
    return parser.parse_args()


if __name__ == "__main__":
    main()
