"""Jobs of texts: what is said of images holds of them, whatever is around them."""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import diffaug
from diffaug.audit.replay import replay_parts
from diffaug.diffusion.masked import Mixing
from diffaug.diffusion.noise import SampleRandom
from diffaug.errors import ConfigError
from diffaug.manifest.columns import COLUMNS
from diffaug.models.card import write_card
from diffaug.output.run import the_run
from diffaug.output.select import picked_rows
from diffaug.texts.splice import spliced
from diffaug.texts.text import Text
from diffaug.texts.windows import passage, windows_of
from tests.conftest import SHARDS, Cli
from tests.support.forks import Forks
from tests.support.jobs import (
    GREY,
    WHO,
    differences,
    manifest,
    members,
    output_bytes,
    part,
    planned,
    tars,
)
from tests.support.language_models import SENTENCES, bert, roberta
from tests.support.text_edits import language_model
from tests.support.texts import made_texts, text_job, write_texts
from tests.texts.test_measures import levenshtein

LONG = " ".join(SENTENCES * 2)
TEXTS = {f"k{number}": text for number, text in enumerate(SENTENCES)} | {
    "long": LONG,
    "odd": "The \U0001f600 red book\u2026\r\n\u05d0\u05d1 (and the e\u0301) IS ON the hill.",
    "void": " \n",
}
CLASSES = {"k0": "3", "k1": "red book", "long": "7", "odd": "1.5"}
FIELDS: dict[str, Any] = {"strength": "0.3:0.7", "copies": 2}
NEW = {"medium", "tokens", "output_tokens", "score_edit"}
SAME = [*WHO[1:], "sample_id", "output_sha256", "output_pixel_sha256"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.tar", TEXTS, CLASSES)


@pytest.fixture(scope="module")
def output(source: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "out"
    text_job([source], output, model, **FIELDS)
    return output


def same_rows(output: Path) -> set[tuple[Any, ...]]:
    return set(map(tuple, manifest(output)[SAME].astype(object).fillna("").to_numpy()))


def test_a_text_is_a_row_and_its_copies_are_like_it(output: Path, model: Path) -> None:
    rows = manifest(output)
    assert set(rows.columns) - set(COLUMNS) == NEW
    assert (rows["medium"] == "text").all()
    failed = rows[rows["status"] == "failed"]
    assert failed["source_key"].tolist() == ["void", "void"]
    assert set(failed["reason_code"]) == {"nothing_to_change"}
    assert (len(rows), len(failed)) == (2 * len(TEXTS), 2)
    made = made_texts(output, rows)
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    for row in rows[rows["status"] == "ok"].itertuples():
        before = unicodedata.normalize("NFC", TEXTS[str(row.source_key)])
        after = made[str(row.source_key), int(str(row.copy))]
        counts = [
            len(tokenizer(text, add_special_tokens=False).input_ids) for text in (before, after)
        ]
        assert [row.tokens, row.output_tokens] == counts
        words = [re.findall(r"\w+|[^\w\s]", text) for text in (before, after)]
        assert row.score_edit == levenshtein(*words) / max(map(len, words)) > 0
        assert row.calls <= max(1, round(row.strength * 6))  # type: ignore[arg-type, operator]
    nothing = [
        "source_width",
        "source_height",
        "output_width",
        "output_height",
        "t_start",
        "log_snr",
    ]
    nothing += ["score_ssim", "score_psnr", "prompt"]
    assert rows[nothing].isna().all(axis=None)
    run = the_run(str(output))
    assert (run.schema_version, run.recipe.medium, run.recipe.sampler) == (2, "text", "random")
    assert part(output, "texts")[1]["recipe"]["medium"] == "text"


def test_copies_lie_beside_their_class_and_lineage(output: Path) -> None:
    (tar,) = (output / "shards").glob("*.tar")
    found = members(tar)
    made = made_texts(output, manifest(output))
    for (key, copy), text in made.items():
        assert found.pop(f"{key}-a{copy}.txt").decode() == text
        lineage = json.loads(found.pop(f"{key}-a{copy}.diffaug.json"))
        assert (lineage["source_key"], lineage["copy"]) == (key, copy)
        if key in CLASSES:
            assert found.pop(f"{key}-a{copy}.cls").decode() == CLASSES[key]
    assert not found
    assert differences(output) == []


def test_the_class_comes_from_its_member_and_never_from_the_text(output: Path) -> None:
    rows = manifest(output).drop_duplicates("source_key").set_index("source_key")
    labels = rows["label"].dropna().to_dict()
    assert labels == {"k0": 3, "long": 7}
    assert rows["label_text"].dropna().to_dict() == {"k1": "red book", "odd": "1.5"}


def test_what_is_not_a_token_is_kept(output: Path) -> None:
    for (key, _), text in made_texts(output, manifest(output)).items():
        if key == "odd":
            for kept in ("\U0001f600", "\u2026\r\n\u05d0\u05d1"):
                assert kept in text


def test_every_row_is_made_again(output: Path) -> None:
    count = len(manifest(output))
    (found,) = (output / "manifest").glob("*.parquet")
    again = list(replay_parts(picked_rows(str(output), {found.stem: [*range(count)]}), str(output)))
    assert [one.verdict for one in again] == ["equal"] * (2 * len(TEXTS) - 2)


def test_a_second_run_has_the_same_bytes(
    source: Path, output: Path, model: Path, tmp_path: Path
) -> None:
    text_job([source], tmp_path, model, **FIELDS)
    assert tars(tmp_path) == tars(output)


def test_another_order_and_other_neighbours(
    source: Path, output: Path, model: Path, tmp_path: Path
) -> None:
    keys = ["odd", "k3", "long", "k1"]
    one = write_texts(tmp_path / "one.tar", {key: TEXTS[key] for key in keys[:3]}, CLASSES)
    other = write_texts(tmp_path / "two.tar", {key: TEXTS[key] for key in keys[3:]}, CLASSES)
    text_job([other, one], tmp_path / "out", model, **FIELDS)
    found = same_rows(tmp_path / "out")
    assert len(found) == 8
    assert found < same_rows(output)


def test_further_copies_leave_the_first_as_they_are(
    source: Path, output: Path, model: Path, tmp_path: Path
) -> None:
    text_job([source], tmp_path, model, **FIELDS | {"copies": 3})
    assert same_rows(output) < same_rows(tmp_path)
    texts = made_texts(tmp_path, manifest(tmp_path))
    assert len({texts["long", copy] for copy in range(3)}) == 3


@pytest.mark.process
def test_a_job_that_is_killed_goes_on(
    output: Path, model: Path, tmp_path: Path, forked: Forks
) -> None:
    keys = ["k0", "long", "odd", "k3"]
    shards = [write_texts(tmp_path / f"{key}.tar", {key: TEXTS[key]}, CLASSES) for key in keys]
    flags = [f"--model={model}", "--strength=0.3:0.7", "--steps=6", "--copies=2", "--dtype=float32"]
    process = forked.start("augment", *shards, tmp_path / "out", *flags, "--batch-size=4")
    while not [*(tmp_path / "out/manifest").glob("*.parquet")]:
        assert process.poll() is None, process.err
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert forked("augment", *shards, tmp_path / "out", *flags).returncode == 0
    found = same_rows(tmp_path / "out")
    assert len(found) == 8
    assert found < same_rows(output)


@pytest.mark.parametrize("make", [bert, roberta])
def test_a_long_text_is_its_windows_joined(make: Any, tmp_path: Path) -> None:
    """Against the windows' own results, each by itself, cut and put together here."""
    folder = make(tmp_path / "model")
    tar = write_texts(tmp_path / "long.tar", {"long": LONG})
    rows = text_job([tar], tmp_path / "out", folder, strength=0.5)
    loaded = language_model(folder, 4)
    tokens = loaded.pieces.tokens(LONG)
    whole = passage(
        tokens.ids,
        loaded.pieces.may_change(tokens),
        loaded,
        SampleRandom(0, Text(LONG).sha256, 0),
        Mixing(),
        0.5,
        3,
        None,
    )
    results = tokens.ids.copy()
    cuts = windows_of(len(tokens), loaded.lengths[-1] - 3)
    assert len(cuts) == len(whole.windows) > 3
    for window, (begin, _, first, last) in zip(whole.windows, cuts, strict=True):
        alone = type(whole)(
            tokens=window.tokens,
            windows=(window,),
            taken=((slice(0, window.length), slice(0, window.length)),),
        )
        ((_, made),) = loaded.steps(4).run([("", alone)])
        assert made is not None
        results[first:last] = made[1 + first - begin : 1 + last - begin]
    assert made_texts(tmp_path / "out", rows)["long", 0] == spliced(
        LONG, tokens, results, loaded.pieces
    )


def test_long_texts_can_be_refused(model: Path, tmp_path: Path) -> None:
    texts = {"fits": "the " * 61, "long": "the " * 62}
    tar = write_texts(tmp_path / "long.tar", texts)
    rows = text_job([tar], tmp_path / "out", model, long_text="refuse").set_index("source_key")
    assert rows["status"].to_dict() == {"fits": "ok", "long": "failed"}
    assert rows.loc["long", "reason_code"] == "too_long"
    assert "the text has 62 tokens, and the model takes 61" in str(rows.loc["long", "reason"])
    assert rows["tokens"].to_dict() == {"fits": 61, "long": 62}


KEPT = "The red book is ON the hill, REDDER than the red house was in 1989."


@pytest.mark.parametrize(
    ("keep", "label", "stay"),
    [
        (("red", "On"), None, [r"\bred\b", r"\bON\b"]),
        (("/[0-9]{4}/", "/R[A-Z]+/"), None, ["1989", "REDDER"]),
        (None, "Hill House", [r"\bhill\b", r"\bhouse\b"]),
        (("red",), "hill", [r"\bred\b"]),
        (None, "/[/ (red", []),
    ],
    ids=["words", "patterns", "class", "words, not the class", "a class like a broken pattern"],
)
def test_words_that_are_kept(
    keep: Any, label: str | None, stay: list[str], model: Path, tmp_path: Path
) -> None:
    tar = write_texts(tmp_path / "a.tar", {"a": KEPT}, {"a": label} if label else None)
    more = {} if keep is None else {"keep": keep}
    rows = text_job([tar], tmp_path / "out", model, strength=1.0, copies=6, **more)
    made = list(made_texts(tmp_path / "out", rows).values())
    assert len(made) == 6
    for pattern in stay:
        for text in made:
            assert len(re.findall(pattern, text)) >= len(re.findall(pattern, KEPT))
    for word in ("than", *(["hill"] if "hill" not in str(stay) else [])):
        assert not all(re.search(rf"\b{word}\b", text) for text in made)


def test_kept_words_are_written_as_texts_are(tmp_path: Path) -> None:
    """In normal form C, as texts are read, whatever form the recipe has."""
    text = "a caf\u00e9 by the hill"
    folder = bert(tmp_path / "model", [text])
    tar = write_texts(tmp_path / "a.tar", {"a": text})
    rows = text_job([tar], tmp_path / "out", folder, strength=1.0, copies=4, keep="cafe\u0301")
    assert all("caf\u00e9" in made for made in made_texts(tmp_path / "out", rows).values())


def test_if_every_word_is_kept_there_is_nothing_to_change(model: Path, tmp_path: Path) -> None:
    tar = write_texts(tmp_path / "a.tar", {"a": KEPT})
    rows = text_job([tar], tmp_path / "out", model, keep="/.*/")
    assert rows["reason_code"].tolist() == ["nothing_to_change"]
    assert rows["reason"].tolist() == ["the text has no word that may change"]


def test_a_field_of_a_json_member(model: Path, tmp_path: Path) -> None:
    texts = {key: json.dumps({"body": TEXTS[key], "title": "x"}) for key in ("k0", "k1")}
    tar = write_texts(tmp_path / "texts.tar", texts, CLASSES, "json")
    rows = text_job([tar], tmp_path / "out", model, text_key="json:body", carry="json")
    assert rows["source_member"].tolist() == ["k0.json", "k1.json"]
    assert rows["output_member"].tolist() == ["k0-a0.txt", "k1-a0.txt"]
    found = members(next((tmp_path / "out/shards").glob("*.tar")))
    assert found["k0-a0.json"].decode() == texts["k0"]
    plain = write_texts(tmp_path / "plain.tar", {key: TEXTS[key] for key in texts}, CLASSES)
    other = text_job([plain], tmp_path / "plain", model)
    assert made_texts(tmp_path / "plain", other) == made_texts(tmp_path / "out", rows)
    assert differences(tmp_path / "out") == []
    found_again = replay_parts(
        picked_rows(str(tmp_path / "out"), {"texts": [0, 1]}), str(tmp_path / "out")
    )
    assert [one.verdict for one in found_again] == ["equal", "equal"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"medium": "text", "model": GREY}, "it edits pictures, and medium=text requires a masked"),
        (
            {"medium": "image", "sampler": "ddim"},
            "it is a language model, which edits texts: give medium=text",
        ),
        ({"sampler": "ddim"}, "sampler=ddim is for images: of texts it is random or confident"),
        ({"guidance": 3}, "guidance does nothing to texts"),
        ({"fit": "pad"}, "fit does nothing to texts"),
        ({"prompt": "a {label}"}, "prompt does nothing to texts"),
        ({"mask_key": "mask.png"}, "mask_key does nothing to texts"),
        ({"format": "png"}, "format=png is no format of texts"),
        ({"layout": "paired"}, "layout=paired is for images and clips"),
        ({"frames": 3}, "frames does nothing to texts"),
        ({"condition": "label"}, "takes no class: use condition=none"),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: dict[str, Any], said: str, source: Path, model: Path, tmp_path: Path
) -> None:
    given = {"model": str(model), "sampler": "random"} | fields
    with pytest.raises(ConfigError, match=said):
        planned([source], tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_job_of_images_has_no_fields_of_texts(tmp_path: Path) -> None:
    for fields in ({"keep": "red"}, {"temperature": 0.5}, {"long_text": "refuse"}):
        with pytest.raises(ConfigError, match=f"{next(iter(fields))} is for texts, and these are"):
            planned(SHARDS[:1], tmp_path / "out", **fields)
    with pytest.raises(ConfigError, match="sampler=confident is for texts"):
        planned(SHARDS[:1], tmp_path / "out", sampler="confident")


def test_a_job_goes_on_and_refuses_another_recipe(source: Path, output: Path, model: Path) -> None:
    same = {"model": str(model), "steps": 6, "sampler": "random", "dtype": None} | FIELDS
    planned([source], output, batch_size=None, **same)
    planned([source], output, batch_size=None, **same, medium="text")
    for more, said in (
        ({"temperature": 0.5}, r"temperature \(None there, 0.5 asked\)"),
        ({"keep": "red"}, r"keep \(None there, red asked\)"),
        ({"sampler": "confident"}, r"sampler \(random there, confident asked\)"),
    ):
        with pytest.raises(ConfigError, match=said):
            planned([source], output, batch_size=None, **same | more)


def test_fields_that_change_texts_change_their_identity(
    source: Path, model: Path, tmp_path: Path
) -> None:
    one = write_texts(tmp_path / "a.tar", {"a": KEPT})
    recipes: list[dict[str, Any]] = [
        {},
        {"sampler": "confident"},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"keep": "red"},
        {"seed": 1},
    ]
    rows = [
        text_job([one], tmp_path / str(number), model, strength=0.9, **fields).iloc[0]
        for number, fields in enumerate(recipes)
    ]
    for column in ("sample_id", "output_sha256"):
        for one_row, other in itertools.combinations(rows, 2):
            assert one_row[column] != other[column]


def test_from_the_command_line(source: Path, model: Path, tmp_path: Path, cli: Cli) -> None:
    """Without a sampler; the card's suggestions count."""
    folder = bert(tmp_path / "model")
    write_card(folder, [], None, "A model.", {"suggested": {"strength": 0.3, "steps": 7}})
    out = tmp_path / "out"
    said = cli(
        "augment", source, out, "--model", folder, "--keep", "red,/b..k/", "--max-failed", "1"
    )
    assert said.code == 0, said
    rows = manifest(out)
    assert set(rows["sampler"]) == {"random"}
    assert set(rows["steps"]) == {7}
    assert set(rows["strength"].dropna()) == {0.3}
    assert the_run(str(out)).recipe.keep == ("red", "/b..k/")
    checked = cli("verify", out, "--replay", "3")
    assert (checked.code, "3 equal" in str(checked)) == (0, True)
    row = rows[rows["status"] == "ok"].iloc[0]
    file = tmp_path / "again.txt"
    assert cli("replay", out, row["sample_id"], "-o", file).code == 0
    assert file.read_bytes() == output_bytes(out, row)


def test_a_suggested_sampler_counts(source: Path, tmp_path: Path) -> None:
    folder = bert(tmp_path / "model")
    write_card(folder, [], None, "A model.", {"suggested": {"sampler": "confident"}})
    recipe = diffaug.Recipe(model=str(folder))
    run = diffaug.plan_run([str(source)], str(tmp_path / "out"), recipe, batch_size=4)
    assert run.recipe.sampler == "confident"
