"""What the README and docs/serving.md say to type to a server, typed to a real one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT, Cli, Python, blocks, commands
from tests.support.clips import container, decoded, moving
from tests.support.forks import Forks
from tests.support.serving import PATIENCE, Server, serving

pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(shutil.which("curl") is None, reason="requires curl"),
]

BEFORE, _, AFTER = (ROOT / "docs/serving.md").read_text(encoding="utf-8").partition("### Clips\n")
CLIPS, _, AFTER = AFTER.partition("### Several recipes\n")
PAGE = BEFORE + AFTER
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:8321"
URL_OF_CLIPS = "http://127.0.0.1:8322"
STAMPS = ROOT / "tests/fixtures/stamps-000000.tar"


def started(text: str) -> list[str]:
    """The arguments of the page's `diffaug serve`."""
    (words,) = [words for words in commands(text) if words[:2] == ["diffaug", "serve"]]
    return words[2:]


@pytest.fixture
def photograph(checkout: Path) -> Path:
    with tarfile.open(STAMPS) as tar:
        names = [name for name in tar.getnames() if name.endswith((".png", ".jpg"))]
        member = tar.extractfile(names[0])
        assert member is not None
        with Image.open(member) as image:
            for name in ("cat.jpg", "photos/cat/1.jpg"):
                (checkout / name).parent.mkdir(parents=True, exist_ok=True)
                image.convert("RGB").save(checkout / name)
    return checkout


def typed(server: Server, text: str, folder: Path) -> None:
    """Every curl command of a text, to this server."""
    for words in commands(text):
        if words[0] == "curl":
            for url in (URL, URL_OF_CLIPS):
                words = [word.replace(url, server.url) for word in words]
            done = subprocess.run(
                [words[0], "--fail-with-body", "--silent", "--show-error", *words[1:]],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done


def test_the_page_and_the_readme(
    photograph: Path, forked: Forks, cli: Cli, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert started(README) == [word for word in started(PAGE) if word not in ("--cache", "served")]
    with serving(forked, *started(PAGE)) as server:
        typed(server, README, photograph)
        typed(server, PAGE, photograph)
        for text in (README, PAGE):
            (replay,) = [words for words in commands(text) if words[:2] == ["diffaug", "replay"]]
            done = cli(*replay[1:])
            assert done.code == 0, done
            assert "equal" in done.out
        (block,) = blocks(PAGE, "python")
        printed = python(block.replace(f'"{URL}"', f'"{server.url}"'))
    for name in ("cat-a0.jpg", "cat-a1.jpg", "1-a0.jpg"):
        with Image.open(photograph / name) as image, Image.open(photograph / "cat.jpg") as source:
            assert image.size == source.size
            assert image.tobytes() != source.tobytes()
    with tarfile.open(photograph / "augmented.tar") as made, tarfile.open(STAMPS) as sources:
        count = sum(name.endswith(".cls") for name in sources.getnames())
        assert sum(name.endswith(".cls") for name in made.getnames()) == count > 0
    assert printed.endswith("-a0\n")


def test_clips(checkout: Path, forked: Forks) -> None:
    (checkout / "clips/right").mkdir(parents=True)
    (checkout / "clips/right/chelsea.mp4").write_bytes(container(moving(6)))
    *arguments, port, number = started(CLIPS)
    assert (port, number) == ("--port", URL_OF_CLIPS.rpartition(":")[2])
    with serving(forked, *arguments) as server:
        typed(server, CLIPS, checkout)
    made, _ = decoded((checkout / "chelsea-a0.mp4").read_bytes())
    assert made.shape == moving(6).shape
    assert (made != moving(6)).any()


def test_the_command_of_compose(tmp_path: Path, forked: Forks) -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    service = compose["services"]["service"]
    program, verb, *arguments = service["command"].split()
    assert (program, verb) == ("diffaug", "serve")
    token = "a-token-of-the-tests-0123"
    (tmp_path / "tokens").write_text(token)
    places = {"/run/secrets/serve-tokens": str(tmp_path / "tokens"), "/cache": str(tmp_path)}
    given = [places.get(word, word) for word in arguments]
    assert set(places) < set(arguments)
    with serving(forked, *given, token=token) as server:
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/v1/recipes").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
