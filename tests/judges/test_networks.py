"""Judges that are networks, against transformers called directly, and alone against in company."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffaug import ConfigError
from diffaug.execution import Execution
from diffaug.judges import Candidate, judge_digests, load_panel, pretrained
from diffaug.models.quiet import quiet
from tests.support import hubs, networks
from tests.support.hostile import png

FOUR = Execution(batch_size=4)

Scores = dict[str, float | None]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.clip(tmp_path_factory.mktemp("clip"))


def candidates(count: int, mode: str = "L", **known: Any) -> list[Candidate]:
    """Real pictures of several sizes, with classes and texts."""
    found = []
    for index in range(count):
        picture = Image.open(io.BytesIO(png(index))).convert(mode)
        picture = picture.resize((28 + 5 * (index % 3), 28 + index % 2))
        words = ("coat", "an ankle boot", "bag")
        told: dict[str, Any] = {"label": index % 10, "label_text": words[index % 3]} | known
        found.append(Candidate(source=picture, output=picture, origin=index, **told))
    return found


def judged(judge: str, asked: Sequence[Candidate], execution: Execution = FOUR) -> list[Scores]:
    return load_panel([judge], execution)(asked)


def own_logits(folder: Path, picture: Image.Image) -> torch.Tensor:
    """As a user of transformers has them: one picture, its processor, its model."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    kinds: tuple[Any, Any] = (AutoImageProcessor, AutoModelForImageClassification)
    with quiet():
        processor, model = (kind.from_pretrained(folder) for kind in kinds)
    with torch.inference_mode():
        logits: torch.Tensor = model(
            **processor(picture.convert("RGB"), return_tensors="pt")
        ).logits
    return logits[0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_label_is_what_transformers_says(vit: Path, mode: str) -> None:
    asked = candidates(10, mode)
    for one, scores in zip(asked, judged(f"label={vit}", asked), strict=True):
        logits = own_logits(vit, one.output)
        assert scores["score_label"] == float(logits.argmax() == one.label)
        confidence = float(logits.softmax(0)[one.label])
        assert scores["score_label_confidence"] == pytest.approx(confidence, abs=1e-5)


def test_a_convolutional_classifier(tmp_path: Path) -> None:
    folder = networks.resnet(tmp_path)
    asked = candidates(7)
    for one, scores in zip(asked, judged(f"label={folder}", asked), strict=True):
        confidence = float(own_logits(folder, one.output).softmax(0)[one.label])
        assert scores["score_label_confidence"] == pytest.approx(confidence, abs=1e-5)


def test_clip_is_what_transformers_says(clip: Path) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    kinds: tuple[Any, ...] = (AutoImageProcessor, AutoTokenizer, CLIPModel)
    with quiet():
        processor, tokenizer, model = (kind.from_pretrained(clip) for kind in kinds)
    asked = candidates(6)
    for one, scores in zip(asked, judged(f"clip={clip}", asked), strict=True):
        with torch.inference_mode():
            out = model(
                **processor(one.output.convert("RGB"), return_tensors="pt"),
                **tokenizer(one.label_text, return_tensors="pt"),
            )
        cosine = float(torch.cosine_similarity(out.image_embeds, out.text_embeds))
        assert scores["score_clip"] == pytest.approx(cosine, abs=1e-5)
    assert len({scores["score_clip"] for scores in judged(f"clip={clip}", asked)}) == 6


@pytest.mark.parametrize("judge", ["label={vit}", "clip={clip}", "label=tests.support.ridge:three"])
def test_no_score_depends_on_its_neighbours(vit: Path, clip: Path, judge: str) -> None:
    """To the last bit: alone, in any company, in any order; and by other runs' networks."""
    judge, asked = judge.format(vit=vit, clip=clip), candidates(11, label=1)
    together = judged(judge, asked)
    assert [found for one in asked for found in judged(judge, [one])] == together
    assert judged(judge, asked[::-1])[::-1] == together
    assert judged(judge, asked[3:8]) == together[3:8]
    assert not any(value is None for scores in together for value in scores.values())


def test_no_score_of_few_classes_does_either(tmp_path: Path) -> None:
    """A matrix of two or three columns is multiplied in an order that depends on the row."""
    for classes in (2, 3):
        folder = networks.vit(tmp_path / str(classes), num_labels=classes)
        asked = candidates(12, label=1)
        together = judged(f"label={folder}", asked)
        assert [found for one in asked for found in judged(f"label={folder}", [one])] == together
        for one, scores in zip(asked, together, strict=True):
            confidence = float(own_logits(folder, one.output).softmax(0)[1])
            assert scores["score_label_confidence"] == pytest.approx(confidence, abs=1e-5)


def test_what_has_no_label_or_text_has_no_score(vit: Path, clip: Path) -> None:
    for label in (None, -1, 10):
        for scores in judged(f"label={vit}", candidates(2, label=label)):
            assert scores["score_label"] is scores["score_label_confidence"] is None
    for text in (None, ""):
        assert judged(f"clip={clip}", candidates(1, label_text=text))[0]["score_clip"] is None
    mixed = [*candidates(1, label=None), *candidates(1)]
    assert [one["score_label"] is None for one in judged(f"label={vit}", mixed)] == [True, False]


def test_a_text_longer_than_clip_reads_is_cut(clip: Path) -> None:
    short, long = (candidates(1, label_text="abcdefgh " * n) for n in (9, 10))
    assert judged(f"clip={clip}", short) == judged(f"clip={clip}", long)


def test_a_callable_is_given_pictures_as_they_are() -> None:
    picture = Image.fromarray(np.arange(35 * 21 * 3, dtype=np.uint8).reshape(35, 21, 3))
    (scores,) = judged(
        "label=tests.support.ridge:three", [Candidate(source=picture, output=picture, label=2)]
    )
    pixels = np.asarray(picture, dtype=float) / 255
    logits = np.array([pixels.mean(), pixels.max(), pixels[0, 0].sum()])
    odds = np.exp(logits - logits.max())
    assert scores["score_label"] == float(logits.argmax() == 2)
    assert scores["score_label_confidence"] == pytest.approx(odds[2] / odds.sum(), abs=1e-6)


def test_a_classifier_that_gives_no_numbers_scores_nothing() -> None:
    (scores,) = judged("label=tests.support.ridge:endless", candidates(1))
    assert scores["score_label"] is scores["score_label_confidence"] is None


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "tests.support.ridge has no missing"),
        ("nothing", "it is not callable"),
        (
            "flat",
            r"it returned \(4,\) for a batch \(4, 1, 28, 28\), "
            r"but must return a tensor of logits \(4, ",
        ),
        ("breaks", r"it raised RuntimeError on a batch \(4, 1, 28, 28\): no weights on this"),
    ],
)
def test_a_callable_that_does_not_fit(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"judges: label=tests.support.ridge:{name}: {sentence}"):
        judged(f"label=tests.support.ridge:{name}", candidates(1))


def test_a_digest_is_of_what_decides_the_answers(vit: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "copy"))
    (own,) = judge_digests([f"label={vit}"]).values()
    digests = [own]
    assert judge_digests([f"label={folder}"]) == {"label": own}
    (folder / "README.md").write_text("# words")
    assert judge_digests([f"label={folder}"]) == {"label": own}
    for name in ("preprocessor_config.json", "config.json", "model.safetensors"):
        path = folder / name
        path.write_bytes(
            path.read_bytes().replace(b" ", b"\t", 1) if ".json" in name else b"x" * 64
        )
        if ".json" in name:
            digests += judge_digests([f"label={folder}"]).values()
    assert len(set(digests)) == 3
    with pytest.raises(ConfigError, match="not a whole safetensors file"):
        judge_digests([f"label={folder}"])
    one, other = (
        judge_digests([f"label=tests.support.ridge:{name}"]) for name in ("three", "flat")
    )
    assert one != other
    assert judge_digests(["phash"]) == {"phash": "phash-1"}


def test_a_folder_that_is_no_classifier(vit: Path, clip: Path, tmp_path: Path) -> None:
    def refusal(judge: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load_panel([judge], FOUR)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "it is a vit model, not a clip one" in refusal(f"clip={vit}")
    assert "has no safetensors weights: give a folder" in refusal(f"label={tmp_path}")
    assert "it is neither a folder saved by transformers, nor" in refusal("clip=nowhere")
    folder = Path(shutil.copytree(vit, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    assert "its weights do not fit its config.json" in refusal(f"label={folder}")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").unlink()
    assert "its image processor cannot be loaded" in refusal(f"label={folder}")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only a pickle, which diffaug never opens" in refusal(f"label={folder}")
    grey = networks.vit(tmp_path / "grey", num_channels=1)
    assert "it takes pictures of 1 channels, but the judge passes RGB" in refusal(f"label={grey}")


def test_a_judge_from_the_hub(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.name: path.read_bytes() for path in clip.iterdir()}
    with hubs.serving(monkeypatch, tmp_path / "cache") as server:
        beside = {"open_clip.safetensors": b"other", "pytorch_model.bin": b"", "README.md": b"#"}
        server.add("org/clip", files | beside)
        for reference in ("org/clip", f"org/clip@{hubs.COMMIT}"):
            assert judge_digests([f"clip={reference}"]) == judge_digests([f"clip={clip}"])
        asked = candidates(3)
        assert judged("clip=org/clip", asked) == judged(f"clip={clip}", asked)
        assert not beside.keys() & server.sent()
        with pytest.raises(
            ConfigError, match="judge clip org/none: the hub has no such repository"
        ):
            judge_digests(["clip=org/none"])
        server.add("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
        with pytest.raises(ConfigError, match="is a pickle, which diffaug never opens"):
            judge_digests(["clip=org/pickle"])
        hubs.forget()
        pretrained._fetch.cache_clear()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        asked_before = len(server.asked)  # what is in the cache will do
        assert judge_digests([f"clip=org/clip@{hubs.COMMIT}"]) == judge_digests([f"clip={clip}"])
        assert len(server.asked) == asked_before


def test_loading_says_nothing(vit: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "copy"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(f"label={folder}", candidates(2))
    assert "".join(capfd.readouterr()) == ""
