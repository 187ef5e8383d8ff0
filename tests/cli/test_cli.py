"""The command line: what it says, what it exits with, and what it leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from diffaug import __version__
from tests.conftest import Cli, diffaug_command
from tests.support.forks import Forks
from tests.support.hostile import broken_images, fashion, write_samples
from tests.support.hostile_tars import TARS
from tests.support.jobs import GREY, manifest, output_bytes, planned, rewrite, tars, tree

FAST = ["--model", GREY, "--sampler", "one-step", "--batch-size", "8"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "in/s.tar", fashion(3))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forked: Forks) -> Path:
    """A job run by the command in a process of its own: two good shards and one half broken."""
    folder = tmp_path_factory.mktemp("cli")
    for n in range(2):
        write_samples(folder / f"in/s{n}.tar", fashion(4, 4 * n))
    broken_images(folder / "in/s2.tar")
    ran = forked("augment", "in/*.tar", "out", *FAST, cwd=folder)
    (folder / "said.json").write_text(json.dumps([ran.returncode, ran.stdout, ran.stderr]))
    return folder


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of its output, to spoil."""
    return Path(shutil.copytree(finished / "out", tmp_path / "out"))


def test_a_job_with_broken_images_does_the_rest_and_exits_with_1(finished: Path) -> None:
    code, out, err = json.loads((finished / "said.json").read_text())
    assert code == 1
    assert "13 planned = 10 made + 0 filtered + 3 failed; 3 of 3 shards committed" in out
    assert "3 of 13 failed, more than --max-failed 0.01" in err
    assert "s2: 2 made, 3 failed" in err
    assert "Traceback" not in out + err
    rows = manifest(finished / "out")
    assert rows["status"].value_counts().to_dict() == {"ok": 10, "failed": 3}
    assert len(tars(finished / "out")) == 3


def test_a_rerun_changes_nothing_and_keeps_the_exit_code(finished: Path, cli: Cli) -> None:
    arguments = ["augment", finished / "in/*.tar", finished / "out", *FAST]
    before = {name: what[1] for name, what in tree(finished / "out").items()}
    assert cli(*arguments).code == 1
    assert cli(*arguments, "--max-failed", "0.9").code == 0
    assert cli(*arguments, "--max-failed", "0.2").code == 1
    assert {name: what[1] for name, what in tree(finished / "out").items()} == before


def test_shards_added_to_the_glob_are_taken_in(source: Path, tmp_path: Path, cli: Cli) -> None:
    arguments = ["augment", tmp_path / "in/*.tar", tmp_path / "out", *FAST]
    assert cli(*arguments).code == 0
    write_samples(tmp_path / "in/t.tar", fashion(2, 5))
    said = cli(*arguments)
    assert said.code == 0
    assert "5 planned = 5 made" in said.out
    assert "2 images now" in said.out


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path, cli: Cli) -> None:
    before = tree(tmp_path)
    said = cli("augment", source, tmp_path / "out", *FAST, "--seed", "77", "--dry-run")
    assert said.code == 0
    assert "1 of 1 shards to do" in said.out
    assert '"seed":77' in said.out
    assert tree(tmp_path) == before


def test_several_sources_and_braces(tmp_path: Path, cli: Cli) -> None:
    for n in range(4):
        write_samples(tmp_path / f"in/{n:02d}.tar", fashion(1, n))
    sources = [tmp_path / "in/{00..02}.tar", tmp_path / "in/03.tar"]
    said = cli("augment", *sources, tmp_path / "out", *FAST)
    assert said.code == 0
    assert "4 of 4 shards committed" in said.out


def test_flags_override_the_recipe_file(source: Path, tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("strength: 0.3\nsampler: one-step\nseed: 5\ncopies: 2\ncarry: [txt]\n")
    arguments = ["augment", source, tmp_path / "out", "--recipe", recipe, *FAST]
    assert cli(*arguments, "--seed", "6", "--strength", "0.2:0.5").code == 0
    rows = manifest(tmp_path / "out")
    assert (set(rows["seed"]), len(rows)) == ({6}, 6)
    assert rows["strength"].between(0.2, 0.5).all()
    assert rows["strength"].nunique() == 6


def test_every_recipe_field_is_a_flag(source: Path, tmp_path: Path, cli: Cli) -> None:
    asked = {
        "model": GREY,
        "strength": "0.2,0.4",
        "steps": "7",
        "sampler": "ddim",
        "eta": "0.5",
        "copies": "2",
        "seed": "3",
        "condition": "label",
        "fit": "resize",
        "format": "webp",
        "image-key": "jpg,png",
        "label-key": "cls",
        "carry": "txt",
        "max-pixels": "1000",
        "background": "black",
        "mask-key": "mask.png",
        "result": "model",
        "detail": "none",
        "guidance": "2",
        "guidance-interval": "0:0.5",
        "guidance-every": "2",
        "balance": "none",
        "max-copies": "100",
        "to-class": "own",
        "judges": "phash",
        "filters": "ssim >= 0.4",
        "keep-best": "1",
        "keep-best-by": "-phash_source",
        "keep-rejects": "false",
        "layout": "paired",
    }
    flags = [part for name, value in asked.items() for part in (f"--{name}", value)]
    said = cli("augment", source, tmp_path / "out", *flags, "--dry-run")
    recipe = json.loads(said.out[said.out.index("{") : said.out.index("}") + 1])
    assert not recipe.keys() & {"medium", "noise_time", "frames", "fps", "window"}  # of clips
    of_text = {"prompt", "negative_prompt", "lora", "lora_scale", "autoencoder", "embeddings"}
    assert recipe.keys() == {name.replace("-", "_") for name in asked} | of_text
    assert recipe["strength"] == [0.2, 0.4]
    assert recipe["image_key"] == ["jpg", "png"]
    assert (recipe["fit"], recipe["format"]) == ("resize", "webp")
    assert recipe["background"] == "#000000"
    assert (recipe["filters"], recipe["keep_rejects"]) == (["score_ssim >= 0.4"], False)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such shard": (["{tmp}/none.tar", "{tmp}/out"], "no such shard: "),
    "no such glob": (["{tmp}/none-*.tar", "{tmp}/out"], "no shard matches "),
    "a folder as source": (["{tmp}/in", "{tmp}/out"], "is a folder: name its shards"),
    "a pipe": (["pipe:cat x.tar", "{tmp}/out"], "never opened"),
    "output under a file": (["{src}", "{src}/out"], "cannot write to "),
    "output is a file": (["{src}", "{src}"], "cannot write to "),
    "unknown model": (["{src}", "{tmp}/out", "--model", "nothing"], "no such model: nothing"),
    "strength 0": (["{src}", "{tmp}/out", "--strength", "0"], "strength must be in (0, 1], got 0"),
    "strength 1.5": (["{src}", "{tmp}/out", "--strength", "1.5"], "must be in (0, 1], got 1.5"),
    "strength in words": (["{src}", "{tmp}/out", "--strength", "much"], "must be a number"),
    "no steps": (["{src}", "{tmp}/out", "--steps", "0"], "steps: "),
    "unknown judge": (["{src}", "{tmp}/out", "--judges", "fid"], "there is no judge 'fid'"),
    "no such classifier": (
        ["{src}", "{tmp}/out", "--judges", "label=nowhere"],
        "label=nowhere: it is neither a folder saved by transformers, nor org/name",
    ),
    "no such module": (
        ["{src}", "{tmp}/out", "--judges", "label=nowhere:classify"],
        "there is no module nowhere: install it, put it in the current folder",
    ),
    "bound of no judge": (["{src}", "{tmp}/out", "--filters", "clip > 0.2"], "add clip=REFERENCE"),
    "no colour": (
        ["{src}", "{tmp}/out", "--background", "witte"],
        "background must be an opaque colour such as white, black or #8080ff, got 'witte'",
    ),
    "unknown sampler": (["{src}", "{tmp}/out", "--sampler", "euler"], "sampler: "),
    "no copies": (["{src}", "{tmp}/out", "--copies", "0"], "copies: "),
    "batch of none": (["{src}", "{tmp}/out", "--batch-size", "0"], "batch_size"),
    "batch below none": (["{src}", "{tmp}/out", "--batch-size", "-3"], "batch_size"),
    "batch in words": (["{src}", "{tmp}/out", "--batch-size", "big"], "big"),
    "unknown dtype": (["{src}", "{tmp}/out", "--dtype", "float8"], "dtype"),
    "no such device": (["{src}", "{tmp}/out", "--device", "abacus"], "device"),
    "max-failed 2": (["{src}", "{tmp}/out", "--max-failed", "2"], "fraction in [0, 1], got 2"),
    "max-failed nan": (["{src}", "{tmp}/out", "--max-failed", "nan"], "fraction in [0, 1]"),
    "one argument": (["{src}"], "augment requires SOURCE... OUTPUT"),
    "no argument": ([], "augment requires SOURCE... OUTPUT"),
    "unknown option": (["{src}", "{tmp}/out", "--strenth", "0.4"], "--strenth"),
    "no recipe file": (["{src}", "{tmp}/out", "--recipe", "{tmp}/none.yaml"], "cannot read"),
    "recipe is a folder": (["{src}", "{tmp}/out", "--recipe", "{tmp}"], "cannot read"),
    "recipe is no YAML": (["{src}", "{tmp}/out", "--recipe", "{tmp}/bad.yaml"], "is not YAML"),
    "recipe is a list": (["{src}", "{tmp}/out", "--recipe", "{tmp}/list.yaml"], "be a mapping"),
    "recipe is a tar": (["{src}", "{tmp}/out", "--recipe", "{src}"], "recipe"),
    "recipe of no field": (
        ["{src}", "{tmp}/out", "--recipe", "{tmp}/field.yaml"],
        "strenght: no such field",
    ),
    "secret": (["https://me:hush@h.invalid/a.tar", "{tmp}/out"], "https://h.invalid/a.tar"),
    "unknown protocol": (["{src}", "carrier-pigeon://out"], "not a URL diffaug can open"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(
    mistake: str, source: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "bad.yaml").write_text("strength: [0.4\nseed: }")
    (tmp_path / "list.yaml").write_text("- strength\n")
    (tmp_path / "field.yaml").write_text("strenght: 0.4\n")
    before = tree(tmp_path)
    arguments, sentence = MISTAKES[mistake]
    said = cli("augment", *(part.format(src=source, tmp=tmp_path) for part in arguments))
    said.assert_mistake(sentence)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--strength", "0.7"], "strength (0.2:0.4 there, 0.7 asked)"),
        (["--copies", "3"], "copies (1 there, 3 asked)"),
        (["--batch-size", "16"], "batch_size (8 there, 16 asked)"),
        (["--carry", "txt"], "carry ( there, txt asked)"),
        (["--filters", "ssim > 0"], "filters ( there, score_ssim > 0 asked)"),
        (["--judges", "phash"], "judges ( there, phash asked)"),
    ],
)
def test_an_output_of_another_recipe_is_refused_by_field(
    flags: list[str], sentence: str, finished: Path, cli: Cli
) -> None:
    base = FAST if "--batch-size" not in flags else FAST[:4]
    said = cli("augment", finished / "in/*.tar", finished / "out", *base, *flags)
    assert said.code == 2
    assert sentence in said.err
    assert "Choose a new OUTPUT" in said.err


def test_a_batch_size_not_asked_for_is_the_one_begun_with(finished: Path, cli: Cli) -> None:
    said = cli("augment", finished / "in/*.tar", finished / "out", *FAST[:4], "--dry-run")
    assert "0 of 3 shards to do" in said.out
    assert '"batch_size":8' in said.out


def test_a_vanished_shard_is_named_and_exits_with_1(source: Path, tmp_path: Path, cli: Cli) -> None:
    gone = write_samples(tmp_path / "in/gone.tar", fashion(1, 9))
    planned([source, gone], tmp_path / "out")
    gone.unlink()
    for _ in range(2):
        said = cli("augment", tmp_path / "in/*.tar", tmp_path / "out", *FAST, "--strength", "0.4")
        assert said.code == 1
        assert (
            "shards could not be read and remain for the next run of the same command" in said.err
        )
        assert "gone.tar" in said.err
        assert "Traceback" not in str(said)
        assert set(manifest(tmp_path / "out")["source_shard"]) == {str(source)}


def test_storage_that_fails_is_a_sentence_and_exit_1(
    source: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shards").write_text("in the way")
    said = cli("augment", source, tmp_path / "out", *FAST)
    assert said.code == 1
    assert "storage failed" in said.err
    assert "Traceback" not in str(said)


@pytest.mark.parametrize(
    "name",
    ["cut_in_a_header", "corrupt_header", "a_web_page", "no_members", "headers_upon_headers"],
)
def test_a_hostile_shard_is_never_a_traceback(name: str, tmp_path: Path, cli: Cli) -> None:
    shard = TARS.cases[name].write(tmp_path)
    said = cli("augment", shard, tmp_path / "out", *FAST)
    assert said.code in (0, 1)
    assert "planned = " in said.out
    assert "Traceback" not in str(said)


# --- verify


def _flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.write_bytes(data)


def test_verify_finds_nothing_in_a_finished_output(finished: Path, cli: Cli) -> None:
    said = cli("verify", finished / "out")
    assert said.code == 0
    assert said.out == "3 shards checked, 0 differences\n"


def test_verify_names_a_flipped_byte_of_a_tar(output: Path, cli: Cli) -> None:
    path = sorted(output.glob("shards/*.tar"))[1]
    _flip(path, 0.5)
    said = cli("verify", output)
    assert said.code == 1
    assert f"shards/{path.name}" in said.out
    assert "0 differences" not in said.out


def test_verify_names_a_missing_tar(output: Path, cli: Cli) -> None:
    path = sorted(output.glob("shards/*.tar"))[1]
    path.unlink()
    said = cli("verify", output)
    assert said.code == 1
    assert f"shards/{path.name}: missing" in said.out


def test_verify_names_a_flipped_byte_of_a_part(output: Path, cli: Cli) -> None:
    _flip(output / "manifest/s1.parquet", 0.05)
    said = cli("verify", output)
    assert said.code == 1
    assert "manifest/s1.parquet" in said.out


def test_verify_names_a_stray_tar(output: Path, cli: Cli) -> None:
    shutil.copy(next(output.glob("shards/*.tar")), output / "shards/stray.tar")
    said = cli("verify", output)
    assert said.code == 1
    assert "shards/stray.tar: no manifest part names this tar" in said.out


def test_verify_of_what_is_no_output_exits_with_2(tmp_path: Path, cli: Cli) -> None:
    for place in (tmp_path, tmp_path / "none"):
        for flags in ([], ["--clean"], ["--replay", "3"]):
            said = cli("verify", place, *flags)
            assert said.code == 2
            assert "is not an output of diffaug" in said.err


def test_verify_cleans_what_nothing_names(output: Path, cli: Cli) -> None:
    before = tree(output)
    shutil.copy(next(output.glob("shards/*.tar")), output / "shards/stray.tar")
    (output / ".diffaug-0123456789ab").mkdir()
    assert cli("verify", output).code == 1
    said = cli("verify", output, "--clean")
    assert said.code == 0
    assert said.out == (
        "removed .diffaug-0123456789ab: a killed job left it unfinished\n"
        "removed shards/stray.tar: no manifest part names this tar\n"
        "3 shards checked, 0 differences\n"
    )
    assert {name: what[1] for name, what in tree(output).items()} == {
        name: what[1] for name, what in before.items()
    }


@pytest.mark.parametrize(("asked", "made"), [(4, 4), (1000, 10)])
def test_verify_replays_rows(asked: int, made: int, finished: Path, cli: Cli) -> None:
    said = cli("verify", finished / "out", "--replay", str(asked))
    assert said.code == 0
    assert said.out == (
        f"{made} replayed: {made} equal, 0 within tolerance, 0 differ\n"
        "3 shards checked, 0 differences\n"
    )


def test_verify_names_what_does_not_come_out_again(source: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("augment", source, tmp_path / "out", *FAST, "--copies", "2").code == 0
    row = manifest(tmp_path / "out").iloc[2]
    changed = bytearray(source.read_bytes())
    changed[row["source_offset"] + 50] ^= 1
    source.write_bytes(changed)
    said = cli("verify", tmp_path / "out", "--replay", "6")
    assert said.code == 1
    for copy in range(2):
        name = f"{source} {row['source_key']} copy {copy}: the source has changed: the bytes at "
        assert name in said.out
    assert "6 replayed: 4 equal, 0 within tolerance, 2 differ" in said.out
    assert f"{source}: the source has changed since it was augmented" in said.out
    assert "1 shards checked, 3 differences" in said.out


def test_verify_replays_beside_a_broken_part(output: Path, cli: Cli) -> None:
    _flip(output / "manifest/s1.parquet", 0.05)
    said = cli("verify", output, "--replay", "100")
    assert said.code == 1
    assert "6 replayed: 6 equal" in said.out
    assert "manifest/s1.parquet: cannot be read" in said.out


def test_verify_replays_no_fewer_than_none(output: Path, cli: Cli) -> None:
    said = cli("verify", output, "--replay", "-1")
    assert said.code == 2
    assert "--replay must be a number of images" in said.err


# --- replay


def test_replay_writes_the_image_where_one_stands(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    row = manifest(finished / "out").iloc[5]
    said = cli("replay", finished / "out", row["sample_id"])
    assert said.code == 0
    assert said.out == (
        f"wrote {row['output_member']}\nequal: its bytes and pixels match the manifest\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [row["output_member"]]
    assert (tmp_path / row["output_member"]).read_bytes() == output_bytes(finished / "out", row)


def test_replay_takes_a_beginning_and_a_file(finished: Path, tmp_path: Path, cli: Cli) -> None:
    row = manifest(finished / "out").iloc[0]
    said = cli("replay", finished / "out", row["sample_id"][:8], "-o", tmp_path / "again.png")
    assert said.code == 0
    assert (tmp_path / "again.png").read_bytes() == output_bytes(finished / "out", row)


def test_replay_needs_nothing_but_the_manifest(output: Path, tmp_path: Path, cli: Cli) -> None:
    row = manifest(output).iloc[0]
    (output / "run.json").unlink()
    shutil.rmtree(output / "shards")
    said = cli("replay", output, row["sample_id"], "-o", tmp_path / "again.png")
    assert said.code == 0
    assert "equal: " in said.out


def test_replay_of_a_changed_source_exits_with_1(source: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("augment", source, tmp_path / "out", *FAST).code == 0
    row = manifest(tmp_path / "out").iloc[0]
    source.unlink()
    said = cli("replay", tmp_path / "out", row["sample_id"], "-o", tmp_path / "again.png")
    assert said.code == 1
    assert f"differs: {source} 00000 copy 0: the source is gone" in said.out
    assert not (tmp_path / "again.png").exists()


def test_what_was_made_elsewhere_is_never_called_equal(
    output: Path, tmp_path: Path, cli: Cli
) -> None:
    for stem in ("s0", "s2"):
        rewrite(output, stem, {"torch": "2.0.0"}, torch_version="2.0.0")
    row = manifest(output).iloc[0]
    said = cli("replay", output, row["sample_id"], "-o", tmp_path / "again.png")
    assert said.code == 0
    assert "near: " in said.out
    assert "made with torch 2.0.0 (" in said.out
    assert "bytes and pixels are the same" in said.out
    said = cli("verify", output, "--replay", "10")
    assert said.code == 0
    assert (
        "10 replayed: 4 equal, 6 within tolerance but not proven equal (6 made with torch 2.0.0 ("
    ) in said.out


@pytest.mark.parametrize(
    ("place", "id", "file", "sentence"),
    [
        ("out", "f" * 32, "x.png", "has no image with the sample id"),
        ("out", "f", "x.png", "at least the first 8"),
        ("none", "f" * 32, "x.png", "is not an output of diffaug"),
        ("in", "f" * 32, "x.png", "is not an output of diffaug"),
        ("out", "", "none/x.png", "name another FILE with -o"),
        ("out", "", ".", "name another FILE with -o"),
    ],
)
def test_a_mistaken_replay_is_one_sentence_and_exit_2(
    place: str, id: str, file: str, sentence: str, finished: Path, tmp_path: Path, cli: Cli
) -> None:
    id = id or manifest(finished / "out")["sample_id"].iloc[0]
    said = cli("replay", finished / place, id, "-o", tmp_path / file)
    assert said.code == 2
    assert sentence in said.err
    assert "Traceback" not in str(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no parquet at all"])
def test_a_broken_part_is_said_when_the_job_is_run_again(
    data: bytes, finished: Path, output: Path, cli: Cli
) -> None:
    (output / "manifest/s1.parquet").write_bytes(data)
    said = cli("augment", finished / "in/*.tar", output, *FAST)
    assert said.code in (1, 2)
    assert "s1.parquet" in said.err
    assert "Traceback" not in str(said)


# --- the rest


@pytest.mark.parametrize(
    ("name", "licence", "size"),
    [("fashion-mnist-32", "mit", "32x32 grey"), ("cifar10-32", "apache-2.0", "32x32 colour")],
)
def test_models_lists_the_shipped_ones(name: str, licence: str, size: str, cli: Cli) -> None:
    said = cli("models")
    assert said.code == 0
    (line,) = (line for line in said.out.splitlines() if line.split()[:1] == [name])
    assert licence in line
    assert size in line


def test_version_is_the_packages(cli: Cli) -> None:
    assert __version__ in cli("--version").out


@pytest.mark.parametrize("command", ["augment", "verify", "replay", "models"])
def test_every_command_has_its_own_help(command: str, cli: Cli) -> None:
    said = cli(command, "--help")
    assert said.code == 0
    assert f"diffaug {command}" in said.out
    assert command in cli("--help").out


def test_an_unknown_command_exits_with_2(cli: Cli) -> None:
    said = cli("agument")
    assert said.code == 2
    assert "agument" in str(said)


@pytest.mark.process
def test_a_mistake_is_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    ran = diffaug_command("augment", tmp_path / "none.tar", tmp_path / "out")
    assert ran.returncode == 2
    assert ran.stderr == f"diffaug: no such shard: {tmp_path}/none.tar\n"
    assert ran.stdout == ""


def test_rows_of_the_command_are_rows(finished: Path) -> None:
    frame = pd.read_parquet(finished / "out/manifest")
    assert set(frame["source_shard"]) == {str(finished / f"in/s{n}.tar") for n in range(3)}
