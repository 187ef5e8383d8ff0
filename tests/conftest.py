"""What every test shares: the real shards, a quiet environment, and the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diffaug.cli import main

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow a shared machine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures"
SHARDS = sorted(FIXTURES.glob("fashion-mnist-*.tar"))
BRACES = str(FIXTURES / "fashion-mnist-{000000..000002}.tar")


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a Markdown text in one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


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
