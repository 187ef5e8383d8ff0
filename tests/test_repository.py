"""The files around the code: the workflow, the hooks, the citation and the issue forms, linted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import diffaug
from tests.conftest import ROOT

PROGRAMS = Path(sys.executable).parent
WORKFLOW = (ROOT / ".github/workflows/ci.yaml").read_text()
JOBS: dict[str, Any] = yaml.safe_load(WORKFLOW)["jobs"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    options: dict[str, Any] = {"env": os.environ | {"PATH": path} | environment}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yaml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/*.yaml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/*.yaml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.citation-file-format", "CITATION.cff"),
    ],
)
def test_a_file_fits_its_schema(schema: str, files: str) -> None:
    found = sorted(ROOT.glob(files))
    assert found
    done = run(PROGRAMS / "check-jsonschema", "--builtin-schema", schema, *found)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing_in_the_workflow() -> None:
    done = run(PROGRAMS / "zizmor", "--offline", "--persona", "pedantic", ".github")
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned() -> None:
    uses = re.findall(r"uses: (.*)", WORKFLOW)
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_the_workflow_runs_the_pythons_and_the_torches_that_are_allowed() -> None:
    assert set(JOBS) == {"check", "quick", "services", "package"}
    matrix = JOBS["quick"]["strategy"]["matrix"]
    minor = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert matrix["python"] == minor
    assert PROJECT["requires-python"] == f">={minor[0]},<3.{int(minor[-1][2:]) + 1}"
    (pinned,) = re.findall(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    (lowest,) = (line.partition(">=")[2] for line in PROJECT["dependencies"] if "torch" in line)
    assert matrix["torch"] == [pinned]
    assert matrix["include"] == [{"python": minor[0], "torch": f"{lowest}.0"}]


def test_every_make_target_of_the_workflow_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    used = re.findall(r"run: make ([a-z]+)", WORKFLOW)
    assert used
    assert set(used) <= set(targets)


def test_the_hooks_find_nothing(tmp_path: Path) -> None:
    """Those that change files, and those that `make check` runs, are left out."""
    done = run(PROGRAMS / "pre-commit", "validate-config")
    assert done.returncode == 0, done.stdout
    done = run(
        PROGRAMS / "pre-commit",
        *("run", "--all-files", "--color", "never"),
        PRE_COMMIT_HOME=str(tmp_path),
        SKIP="ruff,ruff-format,end-of-file-fixer,trailing-whitespace",
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 9


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == diffaug.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
