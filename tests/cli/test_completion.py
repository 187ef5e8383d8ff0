"""`diffaug --install-completion`, asked by a real bash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import diffaug_command

ASK = """\
. "$HOME/.bashrc"
complete -p diffaug
COMP_WORDS=(diffaug {words}) COMP_CWORD={place}
_diffaug
echo "${{COMPREPLY[@]}}"
"""


def completions(home: Path, *words: str) -> list[str]:
    script = ASK.format(words=" ".join(words), place=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env={"HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    registered, *found = done.stdout.splitlines()
    assert registered.endswith("-F _diffaug diffaug")
    return " ".join(found).split()


def test_bash_completes_commands_and_flags(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    done = diffaug_command("--install-completion", env=environment)
    assert done.returncode == 0, done.stderr
    assert completions(tmp_path, "aug") == ["augment"]
    assert completions(tmp_path, "augment", "--streng") == ["--strength"]
    assert completions(tmp_path, "verify", "--rep") == ["--replay"]
