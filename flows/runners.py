"""Where a flow's tasks run: in its own process, in a pool of processes, or on a Ray cluster.

Each of the three takes a task and its calls, hands out no more of them than its workers can soon
begin, and yields the final state of each as it ends. Close the generator to stop the flow: calls in
progress are then dropped.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Crashed
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.tasks import Task

from diffaug.errors import ConfigError, require_extra
from flows.devices import cards_of, take_a_card
from flows.task_runs import LIMIT, report_lost, wait_until_known

RunnerName = Literal["local", "processes", "ray"]

Call = dict[str, Any]
"""A task's parameters."""

States = Generator[State[Any], None, None]

POOLS = 3
"""How many pools in a row may break before a task has ended in one of them."""
RETRIES = 3
"""How often Ray restarts a task whose worker died."""
GRACE = 10
"""Seconds a worker has to drop its work."""


@dataclass(frozen=True)
class Local:
    """In the flow's own thread, one call after another: an interrupted flow stops at once."""

    def run(self, task: Task[..., Any], calls: Iterable[Call]) -> States:
        """Run the task for each of the calls."""
        for call in calls:
            state: State[Any] = task(**call, return_state=True)  # type: ignore[assignment]  # it is not a coroutine
            yield state


@dataclass(frozen=True)
class Processes:
    """In processes of this machine, each with its own model and its share of the cores.

    A worker that dies takes the pool with it; its calls in progress then run again in a new pool.

    Attributes:
        workers: how many.
        cards: of each worker, the one it sees; none where they compute on the processor.
    """

    workers: int
    cards: tuple[str, ...] = ()

    def run(self, task: Task[..., Any], calls: Iterable[Call]) -> States:
        """Run the task for each of the calls."""
        left, fruitless = deque(calls), 0
        while left and fruitless < POOLS:
            before = len(left)
            yield from self._until_broken(task, left)
            fruitless = fruitless + 1 if len(left) == before else 0
        for _ in left:
            yield Crashed(message=f"workers died in {POOLS} pools in a row")

    def _until_broken(self, task: Task[..., Any], left: deque[Call]) -> States:
        """Run the calls in one pool; if it breaks, put the calls in progress back."""
        lost: list[Call] = []
        with _pool(self.workers, self.cards) as pool:
            for call, future in _window(
                lambda call: pool.submit(task, call),
                left,
                lambda: 0 if lost else self.workers,
                {},
            ):
                try:
                    future.wait()
                except BrokenProcessPool:
                    lost.append(call)
                    report_lost(future.task_run_id)
                except Exception as error:  # what the task raised could not be unpickled here
                    yield Crashed(message=f"{type(error).__name__}: {error}")
                else:
                    yield future.state
        if lost:
            get_run_logger().warning("a worker died; %d tasks will start again", len(lost))
            left.extendleft(reversed(lost))


@dataclass(frozen=True)
class Ray:
    """On a Ray cluster, one task for each processor, or each GPU where the job runs on GPUs.

    Attributes:
        address: of a cluster; None starts one on this machine for this run.
        workers: of a cluster that is started.
        gpus: how many GPUs a task gets.
    """

    address: str | None
    workers: int
    gpus: int

    def run(self, task: Task[..., Any], calls: Iterable[Call]) -> States:
        """Run the task for each of the calls."""
        import ray
        from prefect_ray.context import remote_options

        options = {"max_retries": RETRIES, "num_gpus": self.gpus}
        if self.address is None:
            options["num_cpus"] = _threads(self.workers)
        resource = "GPU" if self.gpus else "CPU"

        def room() -> int:
            """Twice what the cluster can run at once, so that no worker waits for its next task."""
            return 2 * max(1, int(ray.cluster_resources().get(resource, 0)))

        def submit(call: Call) -> PrefectFuture[Any]:
            with remote_options(**options):
                future: PrefectFuture[Any] = cluster.submit(task, call)
            return future

        under_way: dict[PrefectFuture[Any], Call] = {}
        ended: deque[UUID] = deque(maxlen=LIMIT)
        with self._cluster() as cluster:
            try:
                for _, future in _window(submit, deque(calls), room, under_way):
                    future.wait()
                    ended.append(future.task_run_id)
                    yield future.state
            except BaseException:
                _cancel(under_way)
                raise
            wait_until_known(ended)  # the workers report it, and Ray ends them now

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        from prefect_ray import RayTaskRunner
        from ray import cloudpickle

        _ship_flows(cloudpickle)
        settings: dict[str, Any] = {}
        if self.address == "auto":  # without it, prefect-ray takes "auto" for no address
            settings["address"] = self.address
        elif self.address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            settings["num_cpus"] = self.workers * _threads(self.workers)
            settings["include_dashboard"] = False
            settings["object_store_memory"] = 128 << 20  # only parameters and counts pass through
        handler = signal.getsignal(signal.SIGTERM)
        with ExitStack() as stack:
            try:
                cluster = stack.enter_context(RayTaskRunner(self.address, settings))
            except ConnectionError as error:
                raise ConfigError(f"no Ray cluster at {self.address}: {error}") from error
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would hide a cancellation
            yield cluster


Runner = Local | Processes | Ray


def choose(
    name: RunnerName,
    workers: int | None,
    address: str | None,
    device: str,
    devices: Sequence[str] = (),
) -> Runner:
    """The runner of a job.

    Args:
        name: which of the three.
        workers: how many processes, or workers of a cluster that is started; by default one a core.
        address: of a running Ray cluster: `auto`, `host:port` or `ray://host:port`.
        device: what the job runs on.
        devices: those of this machine that are to have a worker each, where there are several.

    Raises:
        ConfigError: the arguments contradict each other, or no cluster answers.
    """
    if len(devices) > 1 and name != "processes":
        raise ConfigError(
            f"device={','.join(devices)}: runner={name} has no process for each device: use "
            "runner=processes"
        )
    if address is not None and name != "ray":
        raise ConfigError(f"address names a Ray cluster, but runner is {name}: use runner=ray")
    if name == "local":
        if workers is not None:
            raise ConfigError("workers: runner=local has no workers; use runner=processes or ray")
        return Local()
    if name == "processes":
        if len(devices) > 1 and workers is not None:
            raise ConfigError(f"workers: each of {len(devices)} devices has one; leave it out")
        if len(devices) > 1:
            return Processes(len(devices), tuple(cards_of(devices)))
        if device != "cpu":
            raise ConfigError(
                f"runner=processes divides the processor's cores, but device is {device}: use "
                "runner=local for one GPU, device=all for every one of this machine, runner=ray "
                "for those of several"
            )
        return Processes(workers or _cores())
    require_extra("runner=ray", "ray", "prefect_ray")
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None and workers is not None:
        raise ConfigError("workers: a running Ray cluster decides this itself; leave it out")
    if address is not None:
        _knock(address)
    if ":" in device:
        raise ConfigError(f"device={device}: Ray assigns each task its own GPU; use device=cuda")
    return Ray(address, workers or _cores(), gpus=0 if device == "cpu" else 1)


def _knock(address: str) -> None:
    """Check that something listens at the address; Ray itself would retry for minutes."""
    if address == "auto":
        return
    url = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        socket.create_connection((url.hostname or "", url.port or 10001), timeout=GRACE).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}") from None


def _window(
    submit: Callable[[Call], PrefectFuture[Any]],
    calls: deque[Call],
    room: Callable[[], int],
    under_way: dict[PrefectFuture[Any], Call],
) -> Iterator[tuple[Call, PrefectFuture[Any]]]:
    """Take from `calls` and submit while there is room; yield each call and future as it ends."""
    ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
    while True:
        while calls and len(under_way) < room():
            call = calls.popleft()
            future = submit(call)
            under_way[future] = call
            future.add_done_callback(ended.put)
        if not under_way:
            return
        future = ended.get()
        yield under_way.pop(future), future


@contextmanager
def _pool(workers: int, cards: Sequence[str] = ()) -> Iterator[ProcessPoolTaskRunner]:
    others = set(multiprocessing.active_children())
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    for card in cards:
        queue.put(card)
    begin = (_threads(workers), queue if cards else None)
    runner = ProcessPoolTaskRunner(workers, initializer=_begin, initargs=begin)
    with runner as pool:
        # a worker that is killed may hold the lock of what workers tell the flow: then nothing is
        # written there any more, and this process would wait for it before it ends
        if (messages := pool._subprocess_message_queue) is not None:
            messages.cancel_join_thread()
        try:
            yield pool
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _begin(threads: int, cards: Any = None) -> None:
    """Set up a new worker: its share of the cores and its card, and its end: on SIGTERM, or with
    the flow."""
    if cards is not None:
        take_a_card(cards)

    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the flow gets it too, and ends us
    signal.signal(signal.SIGTERM, _drop)
    threading.Thread(target=_end_with_the_flow, name="diffaug-flow", daemon=True).start()


def _end_with_the_flow() -> None:
    flow = multiprocessing.parent_process()
    if flow is not None:
        flow.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _drop(signum: int, _: object) -> None:
    if not _Droppable.entered:
        os._exit(128 + signum)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = threading.Timer(GRACE, os._exit, [128 + signum])
    end.daemon = True
    end.start()
    raise KeyboardInterrupt(signum)


class _Droppable:
    entered = False


@contextmanager
def droppable() -> Iterator[None]:
    """A block that SIGTERM interrupts in a worker process, with a moment to wind up before it ends.

    The interruption must not leave the task: the pool would return it to the flow as its result.
    """
    worker = multiprocessing.parent_process() is not None
    _Droppable.entered = True
    try:
        yield
    except KeyboardInterrupt:
        if worker:
            os._exit(128 + signal.SIGTERM)
        raise
    finally:
        _Droppable.entered = False


def _cancel(under_way: Iterable[PrefectFuture[Any]]) -> None:
    import ray

    tasks = [getattr(future, "wrapped_future") for future in under_way]  # noqa: B009  only Ray's have it
    for task in tasks:
        ray.cancel(task)
    if tasks:
        ray.wait(tasks, num_returns=len(tasks), timeout=GRACE)


def _ship_flows(cloudpickle: Any) -> None:
    """Send the code of this folder along: workers have diffaug installed, but not a clone."""
    here = Path(__file__).parent
    for module in list(sys.modules.values()):
        if Path(getattr(module, "__file__", None) or "").parent == here:
            cloudpickle.register_pickle_by_value(module)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _threads(workers: int) -> int:
    """Threads for each of this many workers on this machine."""
    return max(1, _cores() // workers)
