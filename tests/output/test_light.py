"""Reading an output takes no torch: neither its modules nor the commands that only read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented

HEAVY = ("torch", "diffusers", "transformers")

READ = """
import importlib, pkgutil, sys
import diffaug.output, diffaug.audit.verify, diffaug.audit.clean
from diffaug.cli import _run

for module in pkgutil.iter_modules(diffaug.output.__path__, "diffaug.output."):
    importlib.import_module(module.name)
for command in ("verify", "compact", "report", "export --format croissant"):
    name, *flags = command.split()
    assert _run([name, sys.argv[1], *flags]) == 0, command
print(*sys.modules)
"""


def test_an_output_is_read_without_torch(tmp_path: Path) -> None:
    augmented([write_samples(tmp_path / "s.tar", fashion(3))], tmp_path / "out")
    command = [sys.executable, "-W", "ignore", "-c", READ, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    loaded = ended.stdout.splitlines()[-1].split()
    assert "diffaug.output.run" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
