"""An environment for a run: the torch of the Python that runs this, and diffaug with what it needs.

Only the standard library is imported here: nothing else is installed yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

__all__ = ["EXTRAS", "ROOT", "environment"]

ROOT = Path(__file__).resolve().parent.parent.parent
EXTRAS = "loader,text,train"
"""Of diffaug, which the checks and the benchmarks use."""


def prepare(folder: Path) -> Path:
    """Make a virtual environment in which this Python's packages are seen; its Python.

    A Python that is itself a virtual environment's would show only its base's packages: hence the
    path file.
    """
    command = [sys.executable, "-m", "venv", "--system-site-packages", "--clear"]
    if find_spec("pip"):  # one of the environment's own would bring an old setuptools with it
        command.append("--without-pip")
    subprocess.run([*command, str(folder)], check=True)
    python = folder / "bin/python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    seen = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    Path(own.stdout.strip(), "the-given-python.pth").write_text("\n".join(seen) + "\n")
    return python


def commands(python: Path, wheels: Path | None, folder: Path) -> Iterator[list[str]]:
    """What installs diffaug and what it needs there, besides what the given Python has.

    Args:
        python: of the environment.
        wheels: a folder that holds diffaug's wheel and those that the given Python lacks; then
            there is no network. Otherwise the checkout is installed by its pins, except torch's.
        folder: for the pins.
    """
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    pip += ["--no-input", "--quiet"]
    again = ["--force-reinstall", "--no-deps"]  # the given Python may have a diffaug of its own
    if wheels is not None:
        pip += ["--no-index", "--find-links", str(wheels)]
        yield [*pip, f"diffaug[{EXTRAS}]"]
        yield [*pip, *again, "diffaug"]
        return
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    path = folder / "constraints.txt"
    path.write_text("\n".join(pin for pin in pins if not pin.startswith("torch==")) + "\n")
    yield [*pip, "--constraint", str(path), f"{ROOT}[{EXTRAS}]"]
    yield [*pip, *again, str(ROOT)]


def environment(folder: Path) -> dict[str, str]:
    """The environment variables of a step: the checkout's tests are found, but not its diffaug."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    if not (code / "tests").exists():
        (code / "tests").symlink_to(ROOT / "tests")
    return os.environ | {
        "PYTHONPATH": str(code),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def main() -> None:
    """`python -m tests.gpu.environment FOLDER [WHEELS]`; the last line printed is JSON."""
    folder = Path(sys.argv[1])
    wheels = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if wheels is not None and not list(wheels.glob("diffaug-*.whl")):
        sys.exit(f"{wheels} has no wheel of diffaug: pip wheel --no-deps --wheel-dir {wheels} .")
    python = prepare(folder / "venv")
    for command in commands(python, wheels, folder):
        subprocess.run(command, check=True)
    asked = "import diffaug; print(diffaug.__version__); print(diffaug.__file__)"
    told = subprocess.run(
        [python, "-c", asked], env=environment(folder), capture_output=True, text=True, check=True
    )
    version, place = told.stdout.split()
    if folder not in Path(place).parents:
        sys.exit(f"the installed diffaug is not what is imported, but {place}")
    print(json.dumps({"python": sys.executable, "diffaug": version}))


if __name__ == "__main__":
    main()
