"""What is installed: the wheel, the core without extras, the extras, and the pins."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import diffaug
from diffaug.errors import ConfigError, require_extra
from tests.conftest import ROOT, Cli, commands
from tests.support.hostile import encoded
from tests.support.packing import picture, write

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

DISTRIBUTIONS = {
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "openlineage": "openlineage-python",
    "prefect_ray": "prefect-ray",
    "pydantic_core": "pydantic",
    "skimage": "scikit-image",
    "starlette": "fastapi",
    "tensorboardX": "tensorboardx",
    "yaml": "pyyaml",
}
"""Where a module is not named as the package that brings it."""

USES = {
    "diffaug/cli/pilot.py": "report",
    "diffaug/clips": "video",
    "diffaug/dataset": "loader",
    "diffaug/evaluation": "evaluate text",
    "diffaug/execution.py": "video",
    "diffaug/job/pilot.py": "report",
    "diffaug/job/trial.py": "report",
    "diffaug/judges": "text",
    "diffaug/models": "text",
    "diffaug/online/server.py": "remote",
    "diffaug/online/servers.py": "remote",
    "diffaug/output/croissant.py": "croissant",
    "diffaug/report": "report",
    "diffaug/serve": "serve",
    "diffaug/serve/replicas.py": "ray",
    "diffaug/train": "train",
    "diffaug/train/text_task.py": "text",
    "diffaug/train/tokenizer.py": "text",
    "flows": "flows ray",
    "flows/lineage.py": "lineage",
}
"""The extras that files may import from, besides the core."""

NEVER_IMPORTED = {"fastapi", "s3fs", "aiohttp", "peft"}
"""What an extra brings for another package to import."""

OPTIONAL = (
    *(
        "aiohttp",
        "av",
        "fastapi",
        "httpx",
        "matplotlib",
        "mlcroissant",
        "pandas",
        "peft",
        "prefect",
    ),
    *("prefect_ray", "ray", "s3fs", "tensorboardX", "transformers", "webdataset"),
)

HIDE = """
import sys
from importlib.machinery import PathFinder


class Core(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in HIDDEN:
            return super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Core
"""


def named(requirements: list[str]) -> set[str]:
    """The packages that requirements name, those of extras that they name included."""
    found = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == "diffaug":
            for extra in requirement.extras:
                found |= named(EXTRAS[extra])
        else:
            found.add(canonicalize_name(requirement.name))
    return found


CORE = named(PROJECT["dependencies"])


def imports(path: Path) -> Iterator[str]:
    """The packages that a file imports, of those that are not Python's own or ours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in (name.partition(".")[0] for name in names):
            if name not in sys.stdlib_module_names | {"diffaug", "flows"}:
                yield canonicalize_name(DISTRIBUTIONS.get(name, name))


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", ["diffaug", "flows"])
def test_a_file_imports_the_core_and_its_extras_only(folder: str) -> None:
    for path in sources(folder):
        name = path.relative_to(ROOT).as_posix()
        extras = " ".join(value for start, value in USES.items() if name.startswith(start)).split()
        may = CORE.union(*(named(EXTRAS[extra]) for extra in extras))
        assert set(imports(path)) <= may, name


def test_every_dependency_is_imported() -> None:
    imported = {name for path in sources("diffaug") + sources("flows") for name in imports(path)}
    assert imported >= CORE
    assert named(EXTRAS["all"]) - imported <= NEVER_IMPORTED


def test_extras_hold_together() -> None:
    """`all` is every extra for users, `dev` is on top of it, and no line stands twice in `dev`."""
    assert named(EXTRAS["all"]) == set().union(
        *(named(lines) for name, lines in EXTRAS.items() if name not in ("all", "dev"))
    )
    assert "diffaug[all]" in EXTRAS["dev"]
    own = named([line for line in EXTRAS["dev"] if line != "diffaug[all]"])
    assert not own & (CORE | named(EXTRAS["all"]))
    bounds: dict[str, set[str]] = {}
    for line in sum(EXTRAS.values(), PROJECT["dependencies"]):
        requirement = Requirement(line)
        if requirement.name != "diffaug":
            bounds.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name for name, found in bounds.items() if len(found) > 1} == set()


def test_everything_is_pinned_within_its_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    assert list(pins) == sorted(pins, key=lambda name: name.lower().replace("_", "-"))
    for line in sum(EXTRAS.values(), PROJECT["dependencies"]):
        requirement = Requirement(line)
        if requirement.name != "diffaug":
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), line


def test_what_requires_an_extra_names_the_one_that_brings_it() -> None:
    found = 0
    for path in sources("diffaug") + sources("flows"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require_extra":
                words = [word.value for word in node.args[1:] if isinstance(word, ast.Constant)]
                if len(words) == len(node.args) - 1:
                    extra, *modules = map(str, words)
                    brought = (canonicalize_name(DISTRIBUTIONS.get(m, m)) for m in modules)
                    assert {*brought} <= named(EXTRAS[extra]) | CORE, path
                    found += 1
    assert found > 8


@pytest.mark.parametrize(
    ("arguments", "what", "module", "extra"),
    [
        ("report out", "report", "matplotlib", "report"),
        ("train shard out", "train", "webdataset", "train"),
        ("evaluate shard out", "evaluate", "pandas", "evaluate"),
        ("augment shard out --pilot 2", "augment --pilot", "pandas", "report"),
        ("export out", "export --format croissant", "mlcroissant", "croissant"),
    ],
)
def test_a_command_without_its_extra(
    arguments: str, what: str, module: str, extra: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    sentence = f"diffaug: {what} requires {module}: pip install 'diffaug[{extra}]'"
    cli(*arguments.split()).assert_mistake(sentence)


def test_a_store_without_its_extra() -> None:
    """In a process of its own: fsspec remembers what it could import."""
    code = """
import sys
sys.modules |= {"s3fs": None, "aiohttp": None}
from diffaug.errors import ConfigError
from diffaug.storage.find import filesystem
for url in sys.argv[1:]:
    try:
        filesystem(url)
    except ConfigError as error:
        print(error)
"""
    urls = [
        "s3://user:hush@bucket/a.tar",
        "http://host/a.tar",
        "https://host/a.tar",
        "gs://b/a.tar",
    ]
    done = subprocess.run([sys.executable, "-c", code, *urls], capture_output=True, text=True)
    *known, other = done.stdout.splitlines()
    assert known == [
        "s3://bucket/a.tar requires s3fs: pip install 'diffaug[s3]'",
        "http://host/a.tar requires aiohttp: pip install 'diffaug[http]'",
        "https://host/a.tar requires aiohttp: pip install 'diffaug[http]'",
    ]
    assert "gcsfs" in other


def test_a_name_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "webdataset", None)
    sentence = r"AugmentedDataset requires pandas and webdataset: pip install 'diffaug\[loader\]'"
    with pytest.raises(ConfigError, match=sentence):
        diffaug.AugmentedDataset  # noqa: B018


def test_an_extra_that_is_there() -> None:
    require_extra("this test", "loader", "pandas", "webdataset")


def test_windows_is_refused_in_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    cli("models").assert_mistake("Windows is unsupported")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from nothing but what it is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "diffaug", tree / "diffaug", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    done = subprocess.run([*pip, "wheel", *options, tree], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("diffaug-*.whl")
    return found


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    """Every file of `diffaug/`, the weights, templates and py.typed among them, and no other."""
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        said = file.read(metadata).decode()
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "diffaug").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == here
    assert {"diffaug/py.typed", "diffaug/report/templates/page.css"} <= held
    assert sum(name.endswith(".safetensors") for name in held) == 6
    assert f"Version: {diffaug.__version__}\n" in said
    assert "License-Expression: Apache-2.0\n" in said
    assert set(re.findall(r"^Provides-Extra: (.*)$", said, flags=re.MULTILINE)) == set(EXTRAS)


@pytest.mark.pages
def test_the_readme_runs_from_the_wheel_with_the_core_alone(wheel: Path, tmp_path: Path) -> None:
    """In a folder without the checkout, where no package of an extra can be imported."""
    site, folder = tmp_path / "site", tmp_path / "folder"
    pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", site, wheel], check=True, capture_output=True)
    (site / "sitecustomize.py").write_text(f"HIDDEN = {OPTIONAL!r}\n{HIDE}")
    for seed, one in enumerate(("cat", "dog")):
        write(folder / f"photos/{one}/1.jpg", encoded(picture(seed, (40, 30)), "JPEG"))
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = run(sys.executable, "-c", "import diffaug; print(diffaug.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = next(words for words in commands(readme) if words[:2] == ["diffaug", "augment"])
    program = site / "bin/diffaug"
    assert "0 failed" in run(program, *typed[1:])
    output = next(path for path in folder.iterdir() if (path / "run.json").exists())
    assert "1 equal" in run(program, "verify", output, "--replay", "1")
    assert "fashion-mnist-32" in run(program, "models")
    report = subprocess.run(
        [program, "report", output], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert report.returncode == 2
    assert "requires matplotlib and pandas: pip install 'diffaug[report]'" in report.stderr
