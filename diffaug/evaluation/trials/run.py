"""Which trials there are to do, and a process a core to do them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event

import torch

from diffaug.diffusion.batched import at_once
from diffaug.errors import UncommittedError
from diffaug.evaluation.arms import Arm, arms_of, matched_arms
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.trials.group import run_group
from diffaug.evaluation.trials.record import read_trial

__all__ = ["Groups", "missing_trials", "run_trials"]

Groups = Mapping[tuple[int, int], Sequence[Arm]]
"""Arms by budget and seed: what one process does, since it shares images and the filters' judge."""


def missing_trials(plan: EvaluationPlan, output: str) -> Groups:
    """The trials that are to be done next, and after them others, until there are none.

    Matched controls come when all other arms have been done, and validation images have chosen.
    """
    for arms in (arms_of(plan.settings), matched_arms(plan.settings)):
        found = {
            (labels, seed): [arm for arm in arms if read_trial(output, arm, labels, seed) is None]
            for seed, labels in product(range(plan.settings.seeds), plan.settings.labels)
        }
        missing = {group: left for group, left in found.items() if left}
        if missing:
            return missing
    return {}


def run_trials(output: str, groups: Groups) -> Iterator[int]:
    """Do trials that have not been done; yield how many were, group by group.

    Each runs in one thread, so that it comes out the same on any number of cores.

    Raises:
        ConfigError: the classifier cannot be loaded.
        UncommittedError: a process was killed; run it again.
    """
    if not groups:
        return
    device = torch.device(read_plan(output).execution.device)
    workers = min(at_once(device), len(groups))
    spawn = get_context("spawn")
    stop = spawn.Event()
    with ProcessPoolExecutor(workers, spawn, _begin, (stop,)) as pool:
        running = [pool.submit(_run, output, *group, arms) for group, arms in groups.items()]
        try:
            for done in as_completed(running):
                yield done.result()
        except BrokenProcessPool:
            raise UncommittedError(
                "a training process was killed, perhaps for want of memory: what was done stays; "
                "run it again"
            ) from None
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


_stop: Event


def _begin(stop: Event) -> None:
    """What each process begins with."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)


def _run(output: str, labels: int, seed: int, arms: Sequence[Arm]) -> int:
    """Do the trials of a group, and no more of them once whoever asked has gone."""
    parent, done = parent_process(), 0
    assert parent is not None
    for _ in run_group(output, labels, seed, arms):
        done += 1
        if _stop.is_set() or not parent.is_alive():
            break
    return done
