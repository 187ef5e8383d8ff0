"""The trials that are still missing, and the processes that do them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
from diffaug.evaluation.trials.seeds import seeds_needed

__all__ = ["Groups", "missing_trials", "rounds", "run_trials"]

Groups = Mapping[tuple[int, int], Sequence[Arm]]
"""Arms by budget and seed. One process does a group, whose trials share images and a judge."""


def missing_trials(plan: EvaluationPlan, output: str) -> Groups:
    """The trials to do next. Once they are done, others may follow, until the result is empty.

    Matched controls follow all other arms, since validation images choose what they match. The
    images of as many seeds as `seeds_needed` must be there.
    """
    seeds = seeds_needed(plan, output)
    for arms in (arms_of(plan.settings), matched_arms(plan.settings)):
        found = {
            (labels, seed): [arm for arm in arms if read_trial(output, arm, labels, seed) is None]
            for seed, labels in product(range(seeds), plan.settings.labels)
        }
        missing = {group: left for group, left in found.items() if left}
        if missing:
            return missing
    return {}


def rounds(plan: EvaluationPlan, output: str) -> Iterator[tuple[range, Groups]]:
    """What to do, in turn, until an evaluation is complete.

    Each time: the seeds whose images are to be generated, which may be there already, and then the
    trials to run.
    """
    ready = 0
    while True:
        seeds, missing = range(ready, seeds_needed(plan, output)), missing_trials(plan, output)
        if not seeds and not missing:
            return
        yield seeds, missing
        ready = max(ready, seeds.stop)


def run_trials(output: str, groups: Groups) -> Iterator[int]:
    """Do the trials that are not done yet, and yield the number done, group by group.

    Each training runs in one thread, so its result does not depend on the number of cores. Groups
    run in a process each, as many at a time as there are cores; with one, in this process.

    Raises:
        ConfigError: the classifier cannot be loaded.
        UncommittedError: a training process was killed; run it again.
    """
    if not groups:
        return
    device = torch.device(read_plan(output).execution.device)
    workers = min(at_once(device), len(groups))
    if workers > 1:
        yield from _in_processes(output, groups, workers)
        return
    for (labels, seed), arms in groups.items():
        with _one_thread():
            done = sum(1 for _ in run_group(output, labels, seed, arms))
        yield done


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_processes(output: str, groups: Groups, workers: int) -> Iterator[int]:
    spawn = get_context("spawn")
    stop = spawn.Event()
    with ProcessPoolExecutor(workers, spawn, _begin, (stop,)) as pool:
        running = [pool.submit(_run, output, *group, arms) for group, arms in groups.items()]
        try:
            for done in as_completed(running):
                yield done.result()
        except BrokenProcessPool:
            raise UncommittedError(
                "a training process was killed, possibly because memory ran out: finished "
                "trainings are kept; run it again"
            ) from None
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


_stop: Event


def _begin(stop: Event) -> None:
    """Set up a training process."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)


def _run(output: str, labels: int, seed: int, arms: Sequence[Arm]) -> int:
    """Do the trials of a group, until the parent process asks to stop or is gone."""
    parent, done = parent_process(), 0
    assert parent is not None
    for _ in run_group(output, labels, seed, arms):
        done += 1
        if _stop.is_set() or not parent.is_alive():
            break
    return done
