"""What commands load: those that only read an output no torch, a job no diffusers."""

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


JOB = """
import sys
from diffaug.cli import _run

assert _run(["augment", *sys.argv[1:], "--model", "cifar10-32", "--strength", "0.02"]) == 0
print(*sys.modules)
"""


def test_a_job_with_a_shipped_model_takes_no_diffusers(tmp_path: Path) -> None:
    """Nor what a compiler brings: seconds of processor at every start."""
    shard = write_samples(tmp_path / "s.tar", fashion(3))
    command = [sys.executable, "-W", "ignore", "-c", JOB, str(shard), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.splitlines()[-1].split())
    assert "torch" in loaded
    assert not loaded & {"diffusers", "transformers", "torch._dynamo"}
