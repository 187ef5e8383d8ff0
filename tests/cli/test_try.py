"""`diffaug try`: the page, the pictures in it, and the command that it ends with."""

from __future__ import annotations

import base64
import html
import io
import re
import shlex
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import expect

import diffaug
from diffaug.job.trial import tried
from tests.conftest import SHARDS, Cli, Said
from tests.support.browser import CHROMIUM, chromium
from tests.support.forks import Forks
from tests.support.hostile import encoded, png, write_samples
from tests.support.jobs import GREY, tree
from tests.support.packing import picture, write

FAST = ["--model", GREY, "--steps", "4"]


def folder_of(tmp: Path) -> Path:
    """Three unequal classes that a page holds pixel by pixel, two broken files and a text."""
    for place, (name, count) in enumerate({"boot": 12, "hat": 4, "skirt": 1}.items()):
        for number in range(count):
            one = picture(100 * place + number, (48, 64))
            write(tmp / f"my photos/{name}/{number:02d}.jpg", encoded(one, "JPEG"))
    write(tmp / "my photos/hat/00.jpg", b"no picture")
    write(tmp / "my photos/skirt/x.png", b"no picture")
    write(tmp / "my photos/notes.txt", b"no picture")
    return tmp / "my photos"


def page_of(path: Path) -> tuple[str, list[list[Image.Image]]]:
    """The text of a page, and its pictures by rows."""
    text = path.read_text()
    rows = re.findall(r"<li>(.*?)</li>", text, flags=re.DOTALL)
    return text, [
        [
            Image.open(io.BytesIO(base64.b64decode(data)))
            for data in re.findall(r'src="data:image/[a-z]+;base64,([^"]+)"', row)
        ]
        for row in rows
    ]


def command_in(said: Said, text: str) -> list[str]:
    """The command for all of them, which page and terminal both have."""
    (line,) = re.findall(r"next: (.*)", said.err)
    (shown,) = re.findall(r"<code>(.*?)</code>", text)
    assert html.unescape(shown) == line
    return shlex.split(line)


@pytest.fixture(scope="module")
def tried_once(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    tmp = tmp_path_factory.mktemp("tried")
    folder_of(tmp)
    flags = [*FAST, "--strength", "0.25,0.5,0.75", "--copies", "3", "--format", "png"]
    done = forked("try", "my photos", *flags, cwd=tmp)
    said = Said(done.returncode, done.stdout, done.stderr)
    assert said.code == 0, said
    return tmp, said


@pytest.fixture
def tried_folder(
    tried_once: tuple[Path, Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Said]:
    """A copy of the folder in which the command ran, as the current one."""
    folder, said = tried_once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path, said


def test_twelve_pictures_of_all_classes_at_three_strengths(
    tried_folder: tuple[Path, Said],
) -> None:
    """The pictures are those that `diffaug.augment` makes, and nothing else is left behind."""
    tmp, said = tried_folder
    assert said.out.startswith("open try-my-photos.html\n")
    assert sorted(path.name for path in tmp.iterdir()) == ["my photos", "try-my-photos.html"]
    text, rows = page_of(tmp / "try-my-photos.html")
    assert [len(row) for row in rows] == [4] * 12
    sources = {
        one.tobytes(): one
        for one in (
            Image.open(path) for path in (tmp / "my photos").rglob("*.jpg") if is_good(path)
        )
    }
    assert all(source.tobytes() in sources for source, *_ in rows)
    assert len({source.tobytes() for source, *_ in rows}) == 12
    classes = Counter(re.findall(r"<figcaption>source: (\w+)</figcaption>", text))
    assert classes == {"boot": 8, "hat": 3, "skirt": 1}
    recipe = diffaug.Recipe(model=GREY, steps=4, strength=(0.25, 0.5, 0.75), copies=3)
    made = diffaug.augment([source for source, *_ in rows], recipe, batch_size=12)
    for (_, *shown), expected in zip(rows, made, strict=True):
        for one, other in zip(shown, expected, strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(other))


def is_good(path: Path) -> bool:
    return path.read_bytes()[:2] == b"\xff\xd8"


def test_the_command_makes_what_was_promised(tried_folder: tuple[Path, Said], cli: Cli) -> None:
    tmp, said = tried_folder
    text, _ = page_of(tmp / "try-my-photos.html")
    words = command_in(said, text)
    assert words[:4] == ["diffaug", "augment", "my photos", "my-photos-augmented"]
    (count, megabytes) = re.findall(r"about (\d+) images .*, ([\d.]+) MB of disk", said.out)[0]
    assert int(count) == 3 * 18
    ran = cli(*words[1:], "--max-failed", "0.2")
    assert ran.code == 0, ran
    rows = pd.read_parquet(tmp / "my-photos-augmented/manifest")
    assert Counter(rows["strength"]) == {0.25: 16, 0.5: 16, 0.75: 16}  # two of 18 are broken
    tars = [*tmp.glob("my-photos-augmented*/**/*.tar")]
    size = sum(path.stat().st_size for path in tars) / 1e6
    assert abs(float(megabytes) / size - 1) < 0.25


def test_shards_are_tried_too(tmp_path: Path, cli: Cli) -> None:
    page = tmp_path / "deep/er.html"
    flags = ["--model", "fashion-mnist-32", "--steps", "2"]
    said = cli("try", *SHARDS, "-o", page, *flags)
    assert said.code == 0, said
    text, rows = page_of(page)
    assert len(rows) == 12
    labels = Counter(re.findall(r"<figcaption>source: (.+?)</figcaption>", text))
    assert len(labels) == 10  # every class, whose first two come twice
    assert "sampler dpmsolver++: suggested by" in said.err
    assert "0.2:0.4" not in said.err + text  # the card's strengths are not those that are tried
    assert f"about {sum(len(tar_keys(path)) for path in SHARDS)} images, " in said.out
    words = command_in(said, text)
    assert words[1:] == [
        *("augment", *map(str, SHARDS), "fashion-mnist-augmented", "--model", "fashion-mnist-32"),
        *("--steps", "2", "--strength", words[-1]),
    ]


def tar_keys(path: Path) -> set[str]:
    with tarfile.open(path) as tar:
        return {name.partition(".")[0] for name in tar.getnames()}


def test_it_is_the_same_again(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write(tmp_path / f"in/{number}.png", png(number))
    pages = []
    for source in ("in", "."):
        monkeypatch.chdir(tmp_path / ("" if source == "in" else "in"))
        said = cli("try", source, *FAST, "-o", tmp_path / "page.html")
        assert said.code == 0, said
        pages.append(page_of(tmp_path / "page.html")[1])
    assert [[one.tobytes() for one in row] for row in pages[0]] == [
        [one.tobytes() for one in row] for row in pages[1]
    ]
    assert command_in(said, (tmp_path / "page.html").read_text())[2:4] == [
        *(".", f"{tmp_path}/in-augmented")  # outside the folder, also where it is the current one
    ]
    assert set(tree(tmp_path)) == {"in", "in/0.png", "in/1.png", "in/2.png", "page.html"}


@pytest.mark.parametrize(
    ("strength", "given", "shown", "whole"),
    [
        (0.4, True, (0.2, 0.4, 0.8), 0.4),
        (0.4, False, (0.2, 0.4, 0.8), 0.4),
        (0.7, True, (0.35, 0.7, 1.0), 0.7),
        (1.0, True, (0.25, 0.5, 1.0), 1.0),
        ("0.2:0.3", True, (0.2, 0.25, 0.3), "0.2:0.3"),
        ("0.2:0.3", False, (0.15, 0.3, 0.6), 0.3),
        ((0.5, 0.1), True, (0.1, 0.5), (0.5, 0.1)),
        ((0.5, 0.1), False, (0.25, 0.5, 1.0), 0.5),
    ],
)
def test_which_strengths(strength: object, given: bool, shown: object, whole: object) -> None:
    assert tried(diffaug.Recipe.of({"strength": strength}), given=given) == (shown, whole)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "try requires SOURCE: a folder of pictures, or shards"),
        (["{tmp}/none"], "no such shard: "),
        (["{tmp}/empty"], "is a folder that holds no picture"),
        (["{tmp}/broken"], "no picture of .*/broken can be read: "),
        (["{tmp}/broken", "{tmp}/empty"], "try takes one folder, or shards"),
        (["{tmp}/one.png"], "is a picture, and not a shard: name the folder that it lies in"),
        (
            ["{shard}", "-o", "{tmp}/one.png/page.html"],
            "cannot write .*: name another FILE with -o",
        ),
        (["{shard}", "-o", ""], "is a folder: name a file for the page"),
        (["{shard}", "--model", "none"], "none"),
        (["{shard}", "--condition", "label", "--model", "{tmp}"], "model"),
    ],
)
def test_mistakes_are_sentences(
    arguments: list[str], says: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "broken/a.png", b"no picture")
    write(tmp_path / "one.png", png(0))
    said = cli("try", *(one.format(tmp=tmp_path, shard=SHARDS[0]) for one in arguments))
    assert said.code == 2, said
    assert re.search(says, said.err), said
    assert not list(tmp_path.glob("*.html"))


def test_messages_name_the_folder_and_not_the_shard_made_of_it(tmp_path: Path, cli: Cli) -> None:
    folder = folder_of(tmp_path)
    page = ["-o", str(tmp_path / "page.html")]
    said = cli("try", folder, *FAST, *page, "--condition", "label")
    said.assert_mistake(f"condition: no class of {folder} is the model's of that number: 0 boot, ")
    said = cli("try", folder, *FAST, *page, "--detail", "none", "--fit", "fit", "--label-key", "id")
    assert said.code == 0, said
    assert f"no sample of {folder} has " in said.err
    assert "diffaug-try-" not in str(said)
    samples = [
        {
            "__key__": b"%d" % n,
            "png": png(n),
            "cls": b"%d" % (n % 2),
            "txt": (b"boot", b"hat")[n % 2],
        }
        for n in range(4)
    ]
    shard = write_samples(tmp_path / "s.tar", samples)
    said = cli("try", shard, *FAST, *page, "--condition", "label")
    said.assert_mistake(f"condition: no class of {shard} is the model's of that number: 0 boot, ")


@pytest.mark.services
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(tried_folder: tuple[Path, Said], scheme: str) -> None:
    tmp, _ = tried_folder
    url = (tmp / "try-my-photos.html").as_uri()
    wrong: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda asked: wrong.append(asked.url))
        page.goto(url)
        images = page.locator(".tried img")
        expect(images).to_have_count(48)
        for image in images.all():
            assert image.evaluate("image => image.naturalWidth") == 48
        first = [image.bounding_box() for image in images.all()[:4]]
        assert len({one and one["y"] for one in first}) == 1  # side by side, and large
        assert all(one and one["width"] > 250 for one in first)
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert [each for each in wrong if each != url and not each.startswith("data:")] == []
