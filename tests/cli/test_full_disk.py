"""Every command that writes, on a full disk and where it cannot write: a sentence, and no rest."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from diffaug.cli import main
from tests.conftest import MLCROISSANT, SHARDS, Cli, Said
from tests.support.disk import REASON, full_disk
from tests.support.hostile import fashion, png, write_samples
from tests.support.jobs import GREY, augmented, manifest

QUICK = ("--sampler", "one-step", "--batch-size", "4")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job of a few images."""
    folder = tmp_path_factory.mktemp("job")
    augmented([write_samples(folder / "s.tar", fashion(3))], folder / "out")
    return folder


@pytest.fixture
def output(job: Path, tmp_path: Path) -> Path:
    """A copy of its OUTPUT."""
    return Path(shutil.copytree(job / "out", tmp_path / "out"))


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def pictures(folder: Path) -> Path:
    """A folder of three pictures."""
    (folder / "pictures").mkdir()
    for number in range(3):
        (folder / f"pictures/{number}.png").write_bytes(png(number))
    return folder / "pictures"


def assert_told(said: Said, code: int = 1) -> None:
    assert (said.code, "Traceback" in str(said), "Exception ignored" in str(said)) == (
        *(code, False, False),
    ), said
    assert REASON in said.err
    assert said.err.splitlines()[-1].startswith("diffaug: ")


@pytest.mark.parametrize("size", [100_000, 2_000_000])  # the model's weights, or the state
def test_train(size: int, tmp_path: Path, cli: Cli) -> None:
    recipe = ("--network", "tiny", "--size", "8", "--channels", "1", "--batch-size", "4")
    asked = ("train", SHARDS[0], tmp_path / "c", *recipe, "--steps", "2")
    with full_disk(size):
        said = cli(*asked)
    assert_told(said)
    assert "run it again (train with --resume)" in said.err
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"training"}
    assert cli(*asked, "--resume").code == 0
    assert (tmp_path / "c/model_index.json").is_file()


@pytest.mark.parametrize("target", ["x.png", "x", "x.tar"])
def test_sample(target: str, tmp_path: Path, cli: Cli) -> None:
    asked = ("sample", "fashion-mnist-32", "-n", "4", *QUICK, "-o", tmp_path / target)
    with full_disk(400):
        said = cli(*asked)
    assert_told(said)
    assert files(tmp_path) == {}
    if target == "x":
        assert "holds the first 0 of 4 images; choose another output" in said.err
        shutil.rmtree(tmp_path / "x")
    assert cli(*asked).code == 0


def test_a_grid_that_is_there_stays_if_it_cannot_be_replaced(tmp_path: Path, cli: Cli) -> None:
    grid = tmp_path / "x.png"
    Image.new("L", (8, 8)).save(grid)
    before = grid.read_bytes()
    with full_disk(400):
        assert_told(cli("sample", "fashion-mnist-32", "-n", "4", *QUICK, "-o", grid))
    assert files(tmp_path) == {"x.png": before}


@MLCROISSANT
@pytest.mark.parametrize("command", ["report", "export", "compact"])
def test_what_describes_an_output(command: str, output: Path, cli: Cli) -> None:
    before = files(output)
    with full_disk(900):
        said = cli(command, output)
    assert_told(said)
    assert files(output) == before
    assert not list(output.rglob(".*"))
    assert cli(command, output).code == 0


def test_augment_and_its_pilot(tmp_path: Path, cli: Cli) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(3))
    asked = ("augment", source, tmp_path / "out", "--model", GREY, *QUICK)
    with full_disk(500):
        assert_told(cli(*asked), 2)  # not even run.json: nothing was begun
    with full_disk(4000):
        assert_told(cli(*asked))
        assert_told(cli("augment", source, tmp_path / "tried", *asked[3:], "--pilot", "2"))
    assert [path.name for path in tmp_path.rglob(".*")] == []
    assert set(files(tmp_path / "out")) == {"run.json"}
    assert cli(*asked).code == 0
    assert set(manifest(tmp_path / "out")["status"]) == {"ok"}


def test_replay(output: Path, tmp_path: Path, cli: Cli) -> None:
    row = manifest(output).iloc[0]
    place = tmp_path / "x.png"
    with full_disk(100):
        said = cli("replay", output, row["sample_id"], "-o", place)
    assert_told(said, 2)
    assert "name another FILE with -o" in said.err
    assert not place.exists()
    assert cli("replay", output, row["sample_id"], "-o", place).code == 0


def test_pack(tmp_path: Path, cli: Cli) -> None:
    asked = ("pack", pictures(tmp_path), tmp_path / "out")
    with full_disk(1000):
        said = cli(*asked)
    assert_told(said)
    assert list((tmp_path / "out").iterdir()) == []
    assert cli(*asked).code == 0


def test_evaluate(tmp_path: Path, cli: Cli) -> None:
    """Its images are written before anything is trained."""
    flags = ("--labels", "2", "--seeds", "2", "--validation", "1", "--arms", "real")
    with full_disk(2000):
        said = cli("evaluate", *SHARDS[:2], tmp_path / "out", *flags, "--test", SHARDS[2])
    assert_told(said)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("buffered", [True, False])
def test_standard_output_on_a_full_disk(
    buffered: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["diffaug", "models"])
    with Path("/dev/full").open("wb", buffering=-1 if buffered else 0) as full:
        stream = io.TextIOWrapper(full, write_through=not buffered)
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == "diffaug: cannot write to standard output: No space left on device\n"


# --- where nothing can be written, as something else has the name


def test_a_file_in_the_place_of_a_folder(job: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").write_bytes(b"x")
    within = tmp_path / "file/within"
    for command in (
        ("augment", job / "s.tar", within, *QUICK),
        ("pack", pictures(tmp_path), within),
        ("train", SHARDS[0], within, "--network", "tiny"),
        ("sample", "fashion-mnist-32", "-n", "1", "-o", within),
        ("sample", "fashion-mnist-32", "-n", "1", "-o", f"{within}.png"),
    ):
        cli(*command).assert_mistake("cannot write to")


def test_a_folder_in_the_place_of_a_file(output: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "x.png").mkdir()
    said = cli("sample", "fashion-mnist-32", "-n", "1", "-o", tmp_path / "x.png")
    said.assert_mistake("is a folder: name a file for a grid")
    row = manifest(output).iloc[0]
    said = cli("replay", output, row["sample_id"], "-o", tmp_path / "x.png")
    said.assert_mistake("Is a directory: name another FILE")
    (output / "report/index.html").mkdir(parents=True)
    said = cli("report", output)
    assert (said.code, "Traceback" in str(said)) == (1, False)
    assert "storage failed: [Errno 21] Is a directory" in said.err
