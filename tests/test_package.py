"""The package as a user meets it: its names and its weight."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from importlib.metadata import version

import pytest

import diffaug
from tests.conftest import ROOT

HEAVY = {"torch", "diffusers", "transformers", "pandas", "pyarrow", "prefect", "skimage"}


def test_public_names_are_sorted() -> None:
    assert diffaug.__all__ == sorted(diffaug.__all__)
    assert dir(diffaug) == diffaug.__all__


@pytest.mark.parametrize("name", diffaug.__all__)
def test_a_public_name_is_there_and_stays(name: str) -> None:
    """Twice: importing a submodule of the same name must not take its place."""
    first = getattr(diffaug, name)
    assert not inspect.ismodule(first)
    assert getattr(diffaug, name) is first
    assert name == "__version__" or first.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diffaug.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "statement", ["import diffaug", "import diffaug; diffaug.Recipe", "import diffaug.cli"]
)
def test_importing_is_light(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "diffaug" in loaded
    assert not HEAVY & set(loaded)


def test_every_module_says_what_is_public() -> None:
    for module in pkgutil.walk_packages(diffaug.__path__, "diffaug."):
        found = importlib.import_module(module.name)
        assert found.__doc__, module.name
        names = getattr(found, "__all__", [])
        assert len(names) == len(set(names)), module.name
        assert all(hasattr(found, name) for name in names), module.name


def test_every_error_is_in_one_tree() -> None:
    """The public ones, and those that modules keep to themselves."""
    for module in pkgutil.walk_packages(diffaug.__path__, "diffaug."):
        for name, found in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(found) and found.__module__ == module.name
            if own and issubclass(found, Exception):
                assert issubclass(found, diffaug.DiffaugError | OSError), name
                assert found.__doc__, name
    assert diffaug.errors.__doc__
    for name in (name for name in diffaug.errors.__all__ if name.endswith("Error")):
        assert name in diffaug.errors.__doc__
        assert name == "DiffaugError" or name in diffaug.__all__


EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "diffaug").rglob("*.py"))
    if any(
        ">>> " in line and "+SKIP" not in line
        for line in path.read_text(encoding="utf-8").splitlines()
    )
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_docstring_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_version_is_the_installed_one() -> None:
    assert diffaug.__version__ == version("diffaug")
