"""Local paths as people write them, against what a shell makes of them."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from diffaug.storage import expand, identity, local_path

ROOT_HOME = pwd.getpwnam("root").pw_dir


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/me"),
        ("~/x.png", "/home/me/x.png"),
        ("~root/x", f"{ROOT_HOME}/x"),
        ("~no-such-user/x", "~no-such-user/x"),
        ("./~/x", "~/x"),
        ("a/~/x", "a/~/x"),
        ("x~", "x~"),
        ("/data/~x", "/data/~x"),
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("file:~/x", "/home/me/x"),
        ("local://x", "x"),
        (Path("~/x"), "/home/me/x"),
    ],
)
def test_a_path_is_what_it_is_in_a_shell(
    text: str | Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path(text) == Path(path)


def test_a_folder_that_only_looks_like_a_home_is_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~no-such-user").mkdir()
    (tmp_path / "~no-such-user/a.tar").touch()
    found = str(tmp_path / "~no-such-user/a.tar")
    for pattern in ("~no-such-user/a.tar", "~no-such-user/*.tar", "./~no-such-user/a.tar"):
        assert expand([pattern]) == [found]
    assert identity("~no-such-user/a.tar") == identity(found)
