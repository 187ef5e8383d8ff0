"""Does it help a classifier of texts? The same question; other arms, and another classifier."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from diffaug.errors import ConfigError
from diffaug.evaluation.images.elsewhere import load_elsewhere, save_elsewhere
from diffaug.evaluation.images.pool import Pool
from diffaug.evaluation.synonyms import synonyms_in
from diffaug.evaluation.texts.eda import deletion, eda_of
from diffaug.evaluation.texts.unigram import matched_unigram
from diffaug.evaluation.trials.words import BagOfWords, numbered
from diffaug.texts.measures import edit_distance
from tests.conftest import SHARDS, Cli
from tests.support.forks import Forks
from tests.support.jobs import manifest
from tests.support.language_models import SENTENCES, bert
from tests.support.texts import write_texts

WORDNET = {
    "noun": [
        "  1 This is a licence, of which every line begins with two spaces.",
        "00001740 03 n 02 film 0 motion_picture 0 001 @ 00002137 n 0000 | a story in pictures",
        "00001930 03 n 03 hill 0 mound 0 rise 1 000 | higher ground",
        "00002000 03 n 02 he 0 helium 0 000 | a gas",
    ],
    "verb": ["00003000 29 v 02 charge 0 load 4 000 01 + 08 00 | fill with power"],
    "adj": ["00004000 00 a 02 great(p) 0 Big 2 000 | large"],
    "adv": ["00005000 02 r 01 long 0 000 | for a long time"],
}
LITTLE = ("--labels=3", "--seeds=2", "--validation=2", "--copies=2", "--train-steps=4")
SAID = "the old film of the great hill was long and he loves to charge it now"
LONG = SAID.split()


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordnet")
    for part, lines in WORDNET.items():
        (folder / f"data.{part}").write_text("\n".join(lines) + "\n")
    return folder


def objects(*texts: str) -> np.ndarray:
    return np.array(texts, dtype=object)


def shard(path: Path, begin: int, count: int = 24) -> Path:
    """Texts of two classes, questions and statements, each with a number that makes it another."""
    texts = {f"t{n}": f"{SENTENCES[n % 8]} {n}" for n in range(begin, begin + count)}
    return write_texts(path, texts, {key: str(int("?" in text)) for key, text in texts.items()})


def test_synonyms_are_those_that_share_a_meaning(wordnet: Path) -> None:
    found = synonyms_in(str(wordnet))
    assert set(found["hill"]) == {"mound", "rise"}
    assert found["motion picture"] == ("film",)
    assert found["great"] == ("big",)
    assert not {"long", "he"} & set(found)  # without a synonym, and a word that holds others


@pytest.mark.parametrize("missing", ["folder", "format"])
def test_a_wordnet_that_is_none_is_said(tmp_path: Path, missing: str) -> None:
    if missing == "format":
        for part in WORDNET:
            (tmp_path / f"data.{part}").write_text("film movie picture\n")
    with pytest.raises(ConfigError, match=r"wordnet-base|not WordNet's"):
        synonyms_in(str(tmp_path / ("none" if missing == "folder" else "")))


def test_each_of_the_four_changes_is_what_it_says(wordnet: Path) -> None:
    """What became of a text says which change it was; all four come, each as often."""
    found = Counter[str]()
    synonyms = synonyms_in(str(wordnet))
    texts = objects(*[SAID] * 800)
    for text in eda_of(str(wordnet))(texts, np.random.default_rng(0)):
        words = str(text).replace("motion picture", "motion_picture").split()
        extra, gone = Counter(words) - Counter(LONG), Counter(LONG) - Counter(words)
        known = {one.replace(" ", "_") for word in LONG for one in synonyms.get(word, ())}
        if len(words) > len(LONG):
            found["inserted"] += 1
            assert not gone
            assert extra.total() == 2
            assert set(extra) <= known
        elif extra:
            found["replaced"] += 1
            assert extra.total() == gone.total() == 2
            assert set(extra) <= known
            assert set(gone) <= set(synonyms)
        elif gone:
            found["left out"] += 1
            kept = iter(LONG)
            assert all(word in kept for word in words)  # in their order
        else:
            found["swapped"] += 1
            assert sum(one != other for one, other in zip(words, LONG, strict=True)) <= 4
    assert set(found) == {"inserted", "replaced", "left out", "swapped"}
    assert found["inserted"] + found["replaced"] == pytest.approx(400, abs=60)


def test_a_tenth_of_the_words_is_left_out_and_one_stays() -> None:
    made = deletion(objects(*[SAID] * 2000), np.random.default_rng(0))
    left = np.mean([len(text.split()) for text in made])
    assert left == pytest.approx(0.9 * len(LONG), abs=0.15)
    assert set(deletion(objects(*["one"] * 50), np.random.default_rng(0))) == {"one"}
    assert deletion(objects("", " "), np.random.default_rng(0)).tolist() == ["", " "]


def test_the_control_changes_as_many_words_and_knows_nothing_of_the_text() -> None:
    texts = objects("a b c d e f", "g h i", "k l")
    copies = np.array(
        [["a b x d e f", "a c d e f", "a b c d e f"], ["x y z w", "g h i", ""], ["", "", "k l m"]],
        dtype=object,
    )
    there = np.array([[True, True, True], [True, True, False], [False, False, True]])
    pool = Pool(copies, there, np.full(there.shape, np.nan))
    made = matched_unigram(texts, ("1", "2", "3"), pool)
    every = set("abcdefghikl")
    for text, row, like, known in zip(texts, made.copies, copies, there, strict=True):
        for one, other in zip(row[known], like[known], strict=True):
            words, most = text.split(), edit_distance(text.split(), other.split())
            assert len(one.split()) == len(words)
            assert sum(a != b for a, b in zip(one.split(), words, strict=True)) <= most
            assert set(one.split()) <= every
    assert made.copies[0, 2] == texts[0]  # nothing was changed there
    assert made.there is there
    again = matched_unigram(texts[1:2], ("2",), Pool(copies[1:2], there[1:2], pool.psnr[1:2]))
    assert set(again.copies[0, 0].split()) <= set("ghi")


def test_the_classifier_takes_the_mean_of_words_and_pairs() -> None:
    torch.manual_seed(0)
    model = BagOfWords(3).eval()
    texts = ["The red house", "the RED house", "house", "", "a much longer text than all of them"]
    together = model(numbered(texts))
    for text, row in zip(texts, together, strict=True):
        torch.testing.assert_close(model(numbered([text]))[0], row)
    numbers = numbered(["the red house"])[0]
    assert len(set(numbers.tolist())) == 5  # three words, two pairs
    mean = model.meanings.weight[numbers].mean(dim=0)
    torch.testing.assert_close(together[0], model.head(mean))
    torch.testing.assert_close(together[0], together[1])
    assert not torch.equal(together[0], model(numbered(["house red the"]))[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def output(
    tmp_path_factory: pytest.TempPathFactory, forked: Forks, model: Path, wordnet: Path
) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    source, test = shard(folder / "source.tar", 0), shard(folder / "test.tar", 100)
    for seed in (7, 8):  # what another tool made for a seed and a budget
        texts = {f"t{n}-1": f"{SENTENCES[n % 8]} for {seed}" for n in range(24)}
        write_texts(folder / f"other-3-{seed}.tar", texts)
    done = forked(
        "evaluate",
        *(str(source), str(folder / "out"), "--test", str(test), *LITTLE),
        *("--model", str(model), "--strengths=0.3,0.6", "--synonyms", str(wordnet), "--seed=7"),
        "--arms=oversampled,deletion,eda,unigram,reconstruct,filtered,eda+reconstruct",
        f"--augmented=other={folder}/other-{{labels}}-{{seed}}.tar",
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_an_evaluation_of_texts(output: Path, cli: Cli) -> None:
    results = json.loads((output / "results/results.json").read_text())
    (verdict,) = results["verdicts"]
    assert verdict["of"] == "clean"
    assert "clean texts" in verdict["sentence"]
    assert "relative to no augmentation" in verdict["sentence"]
    scores = pd.read_parquet(output / "results/scores.parquet")
    made = {f"{name} {strength}" for name in ("reconstruct", "filtered") for strength in (0.3, 0.6)}
    both = {f"eda+reconstruct {strength}" for strength in (0.3, 0.6)}
    controls = {"real", "oversampled", "deletion", "eda", "unigram for clean"}
    assert set(scores["arm"]) == made | both | controls | {"other"}
    assert set(scores["corruption"]) == {"clean"}
    assert set(scores["images"][scores["split"] == "test"]) == {24}
    assert scores["psnr"].isna().all()
    rows = manifest(output / "seed-1/reconstruct-0.6")
    assert set(rows["medium"]) == {"text"}
    assert set(rows["seed"]) == {8}
    assert len(rows) == 12
    page = (output / "results/README.md").read_text()
    assert "PSNR" not in page
    assert "image" not in page
    assert {one.name for one in (output / "results").glob("*.png")} == {
        "gains.png",
        "strengths.png",
    }
    said = cli("report", output)
    assert said.code == 0, said
    assert "Who wrote the book" in (output / "report/index.html").read_text()


def test_texts_of_another_tool_are_those_of_the_seed(output: Path) -> None:
    for seed, number in ((0, 7), (1, 8)):
        kept = load_elsewhere(str(output), seed, "other", 3)
        assert kept.there.sum() == 6
        assert all(text.endswith(f" for {number}") for text in kept.copies[kept.there])


def test_texts_are_kept_letter_for_letter(tmp_path: Path) -> None:
    copies = np.array([["a\0", "\U0001f600 \0"], ["", "\u05d0" * 9]], dtype=object)
    there = np.array([[True, True], [False, True]])
    (tmp_path / "seed-0").mkdir()
    for name, labels in (("other", None), ("3-other", None), ("other", 5)):
        pool = Pool(copies + f"{name} {labels}", there, np.full(there.shape, np.nan))
        save_elsewhere(pool, str(tmp_path), 0, name, labels)
    assert load_elsewhere(str(tmp_path), 0, "other", 3).copies[0, 1] == "\U0001f600 \0other None"
    found = load_elsewhere(str(tmp_path), 0, "other", 5)
    assert found.copies.tolist() == (copies + "other 5").tolist()
    assert found.there.tolist() == there.tolist()


def test_it_goes_on_where_it_was(output: Path, tmp_path: Path, cli: Cli) -> None:
    """A training that is repeated finds what it found before."""
    again = shutil.copytree(output, tmp_path / "again")
    trials = sorted((again / "trials/seed-1").glob("*.json"))
    plan, source = json.loads((again / "evaluation.json").read_text()), output.parent
    before = {path: json.loads(path.read_text())["scores"] for path in trials}
    for path in trials[::2]:
        path.unlink()
    said = cli(
        *("evaluate", source / "source.tar", again, "--test", source / "test.tar", *LITTLE),
        *("--model", plan["recipe"]["model"], "--strengths=0.3,0.6", "--seed=7"),
        f"--synonyms={plan['settings']['synonyms']}",
        f"--augmented=other={source}/other-{{labels}}-{{seed}}.tar",
        f"--arms={','.join(plan['settings']['arms'])}",
    )
    assert said.code == 0, said
    assert {path: json.loads(path.read_text())["scores"] for path in trials} == before


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--arms=jitter,reconstruct"], "'jitter' is not for texts: use real, oversampled"),
        (["--classifier=cnn"], "classifier: cnn is not for texts: use bag"),
        (["--size=32"], "size: texts have none"),
        (["--severities=1"], "severities: texts have none"),
        (["--arms=deletion+oversampled"], "deletion+oversampled cannot be joined: use deletion"),
        (["--condition=label"], "condition"),
        (["--synonyms=/none"], "install it (Debian's package wordnet-base)"),
    ],
)
def test_what_texts_have_not_is_refused(
    tmp_path: Path, cli: Cli, model: Path, flags: list[str], text: str
) -> None:
    source, test = shard(tmp_path / "source.tar", 0), shard(tmp_path / "test.tar", 100, 8)
    asked = ("evaluate", source, tmp_path / "out", "--test", test, *LITTLE)
    cli(*asked, "--model", model, *flags).assert_mistake(text)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--arms=reconstruct", "--copies=2"], "texts are edited by a masked language model"),
        (["--arms=deletion", "--top-p=0.5"], "--top-p does nothing without an arm of diffusion"),
        (["--arms=deletion,unigram"], "unigram matches an arm of diffusion, and there is none"),
    ],
)
def test_without_a_model_there_is_none_to_edit(
    tmp_path: Path, cli: Cli, flags: list[str], text: str
) -> None:
    source, test = shard(tmp_path / "source.tar", 0), shard(tmp_path / "test.tar", 100, 8)
    few = ("--labels=3", "--seeds=2", "--validation=2", "--medium=text")
    cli("evaluate", source, tmp_path / "out", "--test", test, *few, *flags).assert_mistake(text)


def test_images_have_no_arms_of_texts(tmp_path: Path, cli: Cli) -> None:
    said = cli("evaluate", SHARDS[0], tmp_path / "out", "--test", SHARDS[1], "--arms=eda")
    said.assert_mistake("'eda' is not for images: use real, flips-crops")
    said.assert_mistake("give medium=text if these are texts")


def test_another_tool_is_judged_without_a_model(tmp_path: Path, cli: Cli) -> None:
    source, test = shard(tmp_path / "source.tar", 0), shard(tmp_path / "test.tar", 100, 8)
    write_texts(tmp_path / "made.tar", {f"t{n}": f"{SENTENCES[n % 8]} anew" for n in range(24)})
    few = ("--labels=3", "--seeds=2", "--validation=2", "--train-steps=4", "--medium=text")
    arms = ("--arms=deletion,unigram", f"--augmented=made={tmp_path}/made.tar")
    said = cli("evaluate", source, tmp_path / "out", "--test", test, *few, *arms)
    assert said.code == 0, said
    (verdict,) = json.loads((tmp_path / "out/results/results.json").read_text())["verdicts"]
    assert verdict["arm"] == "made"
    assert "Model" not in (tmp_path / "out/results/README.md").read_text()


def test_a_tool_that_made_nothing_is_not_judged(tmp_path: Path, cli: Cli) -> None:
    """Its arm would train on labelled texts alone."""
    source, test = shard(tmp_path / "source.tar", 0), shard(tmp_path / "test.tar", 100, 8)
    few = ("--labels=1,6", "--seeds=2", "--validation=2", "--train-steps=4", "--medium=text")
    asked = ("evaluate", source, tmp_path / "out", "--test", test, *few, "--arms=deletion")
    for key in range(24):  # of a text that is labelled at the larger budget, at most
        made = write_texts(tmp_path / f"{key}.tar", {f"t{key}": "anew"})
        said = cli(*asked, f"--augmented=made={made}")
        assert said.code == 2
        if "has copies of none of the 2 samples" in str(said):
            break
    else:
        pytest.fail("no text is labelled at the larger budget alone")
    said.assert_mistake("labelled with 1 labels per class: give some, or leave this budget out")
