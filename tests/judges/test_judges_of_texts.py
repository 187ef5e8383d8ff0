"""Judges of texts, against transformers called directly; alone against in company; and in jobs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from diffaug import ConfigError, Recipe
from diffaug.execution import Execution
from diffaug.job.estimate import estimate
from diffaug.judges import Candidate, judge_digests, load_fluency_judge, load_panel
from diffaug.models import checkpoint_of
from diffaug.models.quiet import quiet
from diffaug.texts.medium import Texts
from diffaug.texts.text import Text
from tests.conftest import Cli
from tests.support import language_models
from tests.support.hostile import write_files
from tests.support.jobs import augmented, differences, planned

FOUR = Execution(batch_size=4)
NEAR = 2e-5

Scores = dict[str, float | None]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_models.encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_models.classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make = getattr(language_models, request.param)
    return Path(make(tmp_path_factory.mktemp(request.param)))


def candidates(repeat: int = 1) -> list[Candidate]:
    """Sentences, and what became of them: a few words replaced, some added, some left out."""
    words = [word for one in language_models.SENTENCES for word in one.split()]
    drawn, found = random.Random(0), []
    for number, sentence in enumerate(language_models.SENTENCES):
        own = sentence.split() * repeat
        edited = [drawn.choice(words) if drawn.random() < 0.2 else word for word in own]
        edited[3:4] = [[], ["small", "red"], ["camera"]][number % 3]
        source, output = Text(" ".join(own)), Text(" ".join(edited))
        found.append(Candidate(source=source, output=output, label=number % 3, origin=number))
    return found


def judged(
    judge: str, asked: Sequence[Candidate], model: Path | None = None, **recipe: Any
) -> list[Scores]:
    """What one judge adds to the scores that texts have anyway."""

    def fluency() -> Any:
        asking = Recipe(model=str(model), medium="text", **recipe)
        return load_fluency_judge(asking, checkpoint_of(asking), FOUR)

    scores = load_panel([judge], FOUR, Texts(), fluency)(asked)
    return [{name: one[name] for name in one if name != "score_edit"} for one in scores]


def loaded(folder: Path, kind: str) -> tuple[Any, Any]:
    """The tokenizer and the model of a folder."""
    import transformers

    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return tokenizer, getattr(transformers, kind).from_pretrained(folder).eval()


def pooled(folder: Path, text: str, cls: bool = False) -> torch.Tensor:
    """As the cards of sentence encoders show it: mean over attended tokens, then normalised."""
    tokenizer, model = loaded(folder, "AutoModel")
    given = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        features = model(**given)[0][0]
    mask = given["attention_mask"][0][:, None]
    vector = features[0] if cls else (features * mask).sum(0) / mask.sum()
    return torch.nn.functional.normalize(vector, dim=0)


@pytest.mark.parametrize("cls", [False, True])
def test_meaning_is_the_cosine_of_pooled_features(encoder: Path, tmp_path: Path, cls: bool) -> None:
    folder = encoder
    if cls:
        folder = Path(shutil.copytree(encoder, tmp_path / "cls"))
        modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    asked = candidates()
    for one, scores in zip(asked, judged(f"meaning={folder}", asked), strict=True):
        source, output = (pooled(folder, x.text, cls) for x in (one.source, one.output))
        assert scores["score_meaning"] == pytest.approx(float(source @ output), abs=NEAR)
    assert judged(f"meaning={folder}", [Candidate(source=Text(""), output=Text(""))]) == [
        {"score_meaning": pytest.approx(1)}
    ]


def test_a_long_text_is_embedded_as_the_mean_of_its_pieces(encoder: Path) -> None:
    """Of about equal length, as few as fit: of 64 tokens two stand around, and one is padding."""
    tokenizer, model = loaded(encoder, "AutoModel")

    def embedded(text: str) -> Any:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        parts = np.array_split(ids, -(-len(ids) // 61))
        vectors = []
        for part in parts:
            given = torch.tensor([[tokenizer.cls_token_id, *part, tokenizer.sep_token_id]])
            with torch.inference_mode():
                vectors.append(model(input_ids=given)[0][0].mean(0) * len(part))
        assert len(parts) > 2
        return torch.nn.functional.normalize(sum(vectors, torch.zeros(32)), dim=0)

    asked = candidates(repeat=12)[:3]
    for one, scores in zip(asked, judged(f"meaning={encoder}", asked), strict=True):
        expected = float(embedded(one.source.text) @ embedded(one.output.text))
        assert scores["score_meaning"] == pytest.approx(expected, abs=NEAR)


def test_label_is_what_transformers_says(classifier: Path) -> None:
    tokenizer, model = loaded(classifier, "AutoModelForSequenceClassification")
    asked = [*candidates(), Candidate(source=Text("a"), output=Text("a"))]
    *scored, without = judged(f"label={classifier}", asked)
    assert without == {"score_label": None, "score_label_confidence": None}
    assert {scores["score_label"] for scores in scored} == {0, 1}
    for one, scores in zip(asked[:-1], scored, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(one.output.text, return_tensors="pt")).logits[0]
        assert scores["score_label"] == float(logits.argmax() == one.label)
        confidence = float(logits.softmax(0)[one.label])
        assert scores["score_label_confidence"] == pytest.approx(confidence, abs=NEAR)


def test_fluency_is_what_a_plain_loop_finds(model: Path) -> None:
    """Each token that differs from the source, as difflib says, is hidden by itself."""
    import difflib

    tokenizer, network = loaded(model, "AutoModelForMaskedLM")
    asked = [*candidates(), Candidate(source=Text("the book"), output=Text("the book"))]
    *scored, same = judged("fluency", asked, model)
    assert same == {"score_fluency": None}
    for one, scores in zip(asked[:-1], scored, strict=True):
        before, after = (
            tokenizer(x.text, add_special_tokens=False)["input_ids"]
            for x in (one.source, one.output)
        )
        whole = torch.tensor(tokenizer(one.output.text)["input_ids"])
        logs = []
        for what, _, _, begin, end in difflib.SequenceMatcher(
            None, before, after, autojunk=False
        ).get_opcodes():
            for place in range(begin, end) if what != "equal" else ():
                hidden = whole.clone()
                hidden[1 + place] = tokenizer.mask_token_id
                with torch.inference_mode():
                    logits = network(input_ids=hidden[None]).logits[0, 1 + place]
                logs.append(float(logits.log_softmax(0)[after[place]]))
        expected = pytest.approx(np.mean(logs), abs=NEAR) if logs else None  # a word was left out
        assert scores["score_fluency"] == expected
        assert not logs or np.mean(logs) < 0


def test_no_score_depends_on_its_neighbours(encoder: Path, classifier: Path, model: Path) -> None:
    """To the last bit: alone, in any company, in any order; long ones among them."""
    asked = [*candidates(), *candidates(repeat=6)[:3]]
    for judge in (f"meaning={encoder}", f"label={classifier}", "fluency"):
        together = judged(judge, asked, model)
        assert [found for one in asked for found in judged(judge, [one], model)] == together
        assert judged(judge, asked[::-1], model)[::-1] == together
        assert judged(judge, asked[3:8], model) == together[3:8]
        unknown = [value for scores in together for value in scores.values() if value is None]
        assert len(unknown) == (1 if judge == "fluency" else 0)


def test_a_digest_is_also_of_how_features_are_pooled(encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "copy"))
    (own,) = judge_digests([f"meaning={encoder}"]).values()
    assert judge_digests([f"meaning={folder}"]) == {"meaning": own}
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    assert judge_digests([f"meaning={folder}"]) != {"meaning": own}
    assert judge_digests([f"label={folder}"]) == judge_digests([f"label={encoder}"])
    assert judge_digests(["fluency"]) == {"fluency": "fluency-1"}


@pytest.mark.parametrize(
    ("file", "holds", "sentence"),
    [
        (
            "1_Pooling/config.json",
            {"pooling_mode_max_tokens": True},
            "asks for max, and mean or cls",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "asks for lasttoken, and mean or"),
        ("modules.json", [{"type": "a.b.Dense"}], "names a module Dense, and those that are read"),
        ("modules.json", {}, "modules.json cannot be read"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "asks for do_lower_case"),
        ("tokenizer.json", None, "has no tokenizer.json, which texts are read by"),
    ],
)
def test_a_folder_that_cannot_be_used(
    encoder: Path, tmp_path: Path, file: str, holds: Any, sentence: str
) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "copy"))
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps(holds))
    if holds is None:
        (folder / file).unlink()
    with pytest.raises(ConfigError, match=f"judges: meaning={folder}: ") as refused:
        load_panel([f"meaning={folder}"], FOUR, Texts())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_code_classifies_no_texts() -> None:
    with pytest.raises(ConfigError, match="code classifies images, and these are texts"):
        load_panel(["label=tests.support.ridge:three"], FOUR, Texts())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    members = []
    for number, text in enumerate(language_models.SENTENCES):
        members += [(f"{number}.txt", text.encode()), (f"{number}.cls", b"%d" % (number % 3))]
    return write_files(tmp_path_factory.mktemp("source") / "s.tar", members)


def test_a_job_is_judged_and_filtered(
    encoder: Path, classifier: Path, source: Path, tmp_path: Path, cli: Cli
) -> None:
    """And verified and replayed like any other; the digests are on record."""
    folder = language_models.bert(tmp_path / "model")
    judges = (f"meaning={encoder}", "fluency", f"label={classifier}")
    output = tmp_path / "out"
    asked: dict[str, Any] = {"model": str(folder), "sampler": "random", "judges": judges}
    bounds = ("score_meaning >= 0.6", "edit < 0.5")
    best: dict[str, Any] = {"copies": 8, "keep_best": 1, "keep_best_by": "fluency"}
    rows = augmented([source], output, **asked, **best, filters=bounds)
    assert rows[["score_meaning", "score_label", "score_edit"]].notna().all(axis=None)
    assert rows["score_fluency"].isna().equals(rows["score_edit"] == 0)
    assert rows[["score_ssim", "score_psnr"]].isna().all(axis=None)
    within = (rows["score_meaning"] >= 0.6) & (rows["score_edit"] < 0.5)
    assert (rows["reason_code"] == "bound").equals(~within)
    left = rows[within & rows["score_fluency"].notna()]
    best_of = left.loc[left.groupby("source_key")["score_fluency"].idxmax()]
    assert sorted(rows.index[rows["status"] == "ok"]) == sorted(best_of.index)
    assert 0 < len(best_of) < within.sum() < len(rows)
    recorded = json.loads((output / "run.json").read_text())["judges"]
    assert recorded == judge_digests(judges)
    assert differences(output) == []
    verified = cli("verify", output, "--replay", 4)
    assert verified.code == 0, verified
    assert "4 replayed: 4 equal" in verified.out
    again = augmented([source], tmp_path / "other", **asked, copies=8)
    columns = ["sample_id", *(name for name in map(str, rows) if name.startswith("score_"))]
    pd.testing.assert_frame_equal(again[columns], rows[columns], check_exact=True)
    run = planned([source], tmp_path / "third", **asked)
    assert estimate(run, run.sources).images == len(language_models.SENTENCES)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"judges": "phash"}, "judges: phash is for images, and these are texts: use meaning,"),
        ({"judges": "clip=x"}, "judges: clip is for images, and these are texts: use meaning, flu"),
        ({"filters": "ssim > 0.4"}, "score_ssim is a score of images, and these are texts: use s"),
        ({"filters": "flicker < 2"}, "score_flicker is a score of clips, and these are texts"),
        (
            {"copies": 2, "keep_best": 1, "keep_best_by": "-psnr"},
            "score_psnr is a score of images, and these are texts: use score_edit",
        ),
        ({"filters": "fluency > -3"}, "no judge of the recipe computes score_fluency: add fluency"),
        ({"judges": "fluency=x"}, "fluency takes no reference: write fluency"),
        ({"judges": "meaning"}, "meaning requires a reference: write meaning=REFERENCE"),
    ],
)
def test_what_texts_are_not_judged_by(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Recipe.of({"medium": "text"} | fields)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("medium", ["image", "clip"])
@pytest.mark.parametrize("judge", ["meaning=x", "fluency"])
def test_what_only_texts_are_judged_by(medium: str, judge: str) -> None:
    """As soon as the medium is known, and not before."""
    undecided = Recipe(judges=(judge,), filters=("edit < 0.5",))
    name = judge.partition("=")[0]
    sentence = f"judges: {name} is for texts, and these are {medium}s: use phash, label or clip"
    with pytest.raises(ConfigError, match=sentence):
        undecided.check_medium(medium)
    with pytest.raises(
        ConfigError, match=f"score_edit is a score of texts, and these are {medium}"
    ):
        Recipe(filters=("edit < 0.5",)).check_medium(medium)
    undecided.check_medium("text")
