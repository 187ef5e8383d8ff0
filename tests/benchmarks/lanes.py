"""Diffaug beside the loops one would write without it: `make bench`.

Every arm makes as many network calls for an image as diffaug, `max(1, round(strength * steps))`.
All but (d) and (e) read the same tars and write PNGs, decoding and encoding included:

(a)      the loop most people write: diffusers' UNet2DModel and DDIMScheduler in float32,
         contiguous, batches of 32, one strength at a time, as in diffusers' image to image.
(b)      the same, tuned: the dtype a job would choose here, channels last, grouped by strength.
         Such a scheduler holds one time a batch, so strengths drawn per image go one by one.
(b_grid) as (b), but a drawn strength is rounded to the scheduler's grid, so that images of as many
         calls share a batch: not quite the strengths asked for, and out of the dataset's order.
(b2)     by hand: DDIM with a time for each sample, in static batches, in order. A batch is as long
         as its slowest sample, and the finished ones ride along.
(c)      diffaug from tar to tar: `augment_shards`, with scores, manifest and commits.
(d)      the bare denoiser on resident tensors at full batches, as many calls at once as (c)
         makes, just before and just after (c).
(e)      a dense 3x3 convolution of the same dtype: what the machine can do at best.

Workloads: `one` strength, 0.4; `mixed`, a quarter each of 0.25, 0.5, 0.75 and 1; `range`, 0.2 to
0.8 drawn per image, every arm being given diffaug's draws; `tiny`, shards of ten images.

The arms take turns in one process, a few seconds each, in alternating order, after a small round
that is not measured. Slow arms get fewer images, so rates are compared: image-calls a second, on
the clock and of processor time. A ratio is the median of the rounds' own ratios, all of which
count. Where (d) had fewer processors than it has threads, other work had them: then the machine was
too busy for ratios by the clock, which is said. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, mean, median
from typing import Any

import torch

from diffaug.execution import device_class, versions
from tests.benchmarks.arms import Arms, Rate
from tests.benchmarks.workloads import LEAST, NAMES, Workload, make_workload

SHARES = {
    "one": {"c": 1, "b": 2, "a": 5},
    "mixed": {"c": 1, "b": 5, "b2": 10, "a": 5},
    "range": {"c": 1, "b_grid": 2, "b2": 2, "b": 20},
    "tiny": {"c": 1},
}
"""The arms of each workload beside (d) and (e), and their part of its images (2: half of them)."""

_BUSY = 0.9
"""The share of the processors below which a machine was too busy."""

Rates = dict[str, Rate]
"""Of one workload in one round: image-calls a second, by arm."""

Round = dict[str, Rates]
"""Rates by workload."""


def main() -> None:
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="diffaug-bench-") as name:
        folder = Path(name)
        workloads = _workloads(asked, folder / "measured", asked.images)
        arms = Arms(workloads[0].plan, folder)
        one_round(arms, _workloads(asked, folder / "warm-up", LEAST))
        rounds: list[Round] = []
        for index in range(asked.rounds):
            started = time.perf_counter()
            rounds.append(one_round(arms, workloads, backwards=index % 2 == 1))
            print(
                f"round {index + 1} of {asked.rounds} ({time.perf_counter() - started:.0f} s):",
                *(f"{name} {value.wall:.3f}" for name, value in ratios(rounds[-1]).items()),
                flush=True,
            )
    by_ratio = {name: [ratios(one)[name] for one in rounds] for name in ratios(rounds[0])}
    print_rates(workloads, rounds)
    print_ratios(by_ratio)
    had = share_of_processors(rounds)
    if had < _BUSY and arms.execution.device == "cpu":
        print(f"too busy to tell by the clock: other work had {1 - had:.0%} of the processors")
    result: dict[str, Any] = {
        name: round(median(one.wall for one in values), 4) for name, values in by_ratio.items()
    }
    result["ranges"] = {
        name: [round(bound(one.wall for one in values), 4) for bound in (min, max)]
        for name, values in by_ratio.items()
    }
    result["processor"] = {
        name: round(median(one.processor for one in values), 4) for name, values in by_ratio.items()
    }
    result["share_of_processors"] = round(had, 3)
    print(json.dumps(result | machine(arms) | {"images": asked.images, "rounds": asked.rounds}))


def one_round(arms: Arms, workloads: Sequence[Workload], backwards: bool = False) -> Round:
    """Every arm of every workload, one after the other."""
    rates: Round = {}
    for workload in workloads:
        shares = SHARES[workload.name]
        beside = [arm for arm in shares if arm != "c"]
        order = ["e", "d", "c", "d", *beside]
        found: dict[str, list[Rate]] = defaultdict(list)
        for arm in reversed(order) if backwards else order:
            found[arm].append(arms.run(arm, workload, shares.get(arm, 1)))
        rates[workload.name] = {arm: _mean(found[arm]) for arm in dict.fromkeys(order)}
    return rates


def share_of_processors(rounds: Sequence[Round]) -> float:
    """Of those that (d) has threads for, how many it had."""
    had = [rates["d"].processors for one in rounds for rates in one.values()]
    return mean(had) / torch.get_num_threads()


def _mean(rates: Sequence[Rate]) -> Rate:
    return Rate(fmean(one.wall for one in rates), fmean(one.processor for one in rates))


def _over(one: Rate, other: Rate) -> Rate:
    return Rate(one.wall / other.wall, one.processor / other.processor)


def ratios(measured: Round) -> dict[str, Rate]:
    """Of one round: (c) over each arm, and over the workloads' mean (d) over (e)."""
    found = {}
    for workload, rates in measured.items():
        ending = "" if workload == "one" else f"_{workload}"
        for arm in sorted(rates.keys() - {"c", "e"}):
            found[f"c_over_{arm}{ending}"] = _over(rates["c"], rates[arm])
    found["d_over_e"] = _mean([_over(rates["d"], rates["e"]) for rates in measured.values()])
    return found


def machine(arms: Arms) -> dict[str, Any]:
    execution = arms.execution
    return {
        "device_class": device_class(execution.device),
        "threads": torch.get_num_threads(),
        "dtype": execution.dtype,
        "batch_size": execution.batch_size,
        "gflop_an_image_call": round(arms.flop / 1e9, 4),
        "versions": versions(),
    }


def print_rates(workloads: Sequence[Workload], rounds: Sequence[Round]) -> None:
    """Medians and ranges of every arm; images a second are of the workload's mean image."""
    print(f"\n{'workload':9} {'arm':7} {'images/s':>9} {'image-calls/s':>14}   range")
    for workload in workloads:
        calls_an_image = workload.calls / len(workload.tasks)
        for arm in sorted(rounds[0][workload.name]):
            values = [one[workload.name][arm].wall for one in rounds]
            print(
                f"{workload.name:9} {arm:7} {median(values) / calls_an_image:9.2f} "
                f"{median(values):14.1f}   {min(values):.1f} to {max(values):.1f}"
            )


def print_ratios(by_ratio: dict[str, list[Rate]]) -> None:
    print(f"\n{'ratio':21} {'median':>7}   {'range':16} {'of processor time':>17}   range")
    for name, values in by_ratio.items():
        cells = []
        for found in ([one.wall for one in values], [one.processor for one in values]):
            cells.append(f"{median(found):7.3f}   {min(found):.3f} to {max(found):.3f}")
        print(f"{name:21} {cells[0]:28} {cells[1]:>27}")


def _workloads(asked: argparse.Namespace, folder: Path, images: int) -> list[Workload]:
    return [
        make_workload(
            name,
            folder / name,
            images,
            batch_size=asked.batch_size,
            dtype=asked.dtype,
            device=asked.device,
        )
        for name in NAMES
        if name in asked.workloads
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=160, help=f"of (c), a multiple of {LEAST}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workloads", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--batch-size", type=int, help="by default as a job would choose")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="likewise")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; likewise")
    asked = parser.parse_args()
    if asked.images < LEAST or asked.images % LEAST or asked.rounds < 1:
        parser.error(f"--images is a multiple of {LEAST}, --rounds at least 1")
    return asked


if __name__ == "__main__":
    main()
