"""The words of docs/mixing.md, run: its command, then its Python, in one folder."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands

pytestmark = [pytest.mark.pages, pytest.mark.usefixtures("checkout")]

MIXING = (ROOT / "docs/mixing.md").read_text(encoding="utf-8")


def test_the_command_and_the_python_of_mixing_run(cli: Cli, python: Python) -> None:
    (command,) = commands(MIXING)
    done = cli(*command[1:])
    assert done.code == 0, done
    (said,) = python("\n".join(blocks(MIXING, "python"))).splitlines()
    assert f"# {said}\n" in MIXING
