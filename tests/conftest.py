"""What every test shares: the real shards, a quiet environment, and the command line."""

from __future__ import annotations

import gc
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diffaug import execution
from diffaug.cli import main
from diffaug.job import estimate
from tests.support.forks import LANES, Forks, fork_server
from tests.support.services import BUCKET, Store, object_store, use

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes share the cores
gc.set_threshold(100_000)  # as the command line does
execution.DEFAULT_BATCH_SIZE = LANES
estimate._SECONDS = 0.1  # a dry run times its network for two, and what it says is not looked at
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures"
SHARDS = sorted(FIXTURES.glob("fashion-mnist-*.tar"))
BRACES = str(FIXTURES / "fashion-mnist-{000000..000002}.tar")

MLCROISSANT = pytest.mark.filterwarnings(  # its own warnings, and rdflib's
    "ignore:ConjunctiveGraph is deprecated",
    "ignore:The inplace keyword in DataFrame.reset_index",
    "ignore:.*PngImageFile:ResourceWarning",
    "ignore:.*unclosed file:ResourceWarning",
    "ignore:Python 3.14 will, by default, filter:DeprecationWarning",
)


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a Markdown text in one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The commands in the bash blocks of a Markdown text, as words."""
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


def diffaug_command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    command = [str(Path(sys.executable).with_name("diffaug")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@dataclass
class Said:
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return self.out + self.err

    def assert_mistake(self, sentence: str) -> None:
        """A user's mistake was told in this sentence: no traceback, and no password."""
        assert self.code == 2
        assert sentence in str(self)
        assert "Traceback" not in str(self)
        assert "hush" not in str(self)


Cli = Callable[..., Said]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("augment", …)`: the command's own entry point, in this process."""

    def run(*arguments: str | Path) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["diffaug", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return run


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all workers of this run of the tests share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / name).mkdir(exist_ok=True)
    return folder / name


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """`forked("augment", …)`: the command line in a process of its own, without its imports."""
    shared = shared_folder(tmp_path_factory, "fork-server")
    with fork_server(tmp_path_factory.mktemp("forks"), shared=shared) as forks:
        yield forks


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The object store of all tests."""
    with object_store(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A folder in the store, for this test alone, that `s3://` leads to."""
    use(store, monkeypatch)
    return f"s3://{BUCKET}/{re.sub('[^a-z0-9]+', '-', request.node.name)}"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which to what pages say to type is like the checkout's root."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Python = Callable[[str], str]


@pytest.fixture
def python(capsys: pytest.CaptureFixture[str]) -> Python:
    """`python(code)`: run a page's Python as a script, in this process; what it prints."""

    def run(code: str) -> str:
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # a script leaves files to its end
            exec(compile(code, "a page", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


LONG = {"services", "process", "pages", "numerics", "proof"}
"""Marks of what plain `pytest` leaves out."""


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no garbage collection needs to look at it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first, and those that wait for servers in turn with those that compute.

    The very first are those that may wait longest: their tests have a time limit of their own.
    """
    patient = {item.path for item in items if item.get_closest_marker("timeout")}
    marks: dict[Path, set[str]] = {}
    for item in items:
        marks.setdefault(item.path, set()).update(LONG.intersection(item.keywords))
    waiting = [path for path, found in marks.items() if "services" in found]
    computing = [path for path, found in marks.items() if found and "services" not in found]
    waiting.sort(key=lambda path: path not in patient)
    places = {path: 2 * n for n, path in enumerate(waiting)}
    places |= {path: 2 * n + 1 for n, path in enumerate(computing)}
    last = len(items)  # a list that is being sorted has no length
    items.sort(key=lambda item: places.get(item.path, last))
