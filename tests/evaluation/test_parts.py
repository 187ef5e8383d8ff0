"""The parts of an evaluation, each against something independent: closed forms, scipy, Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import ConfigError
from diffaug.evaluation.images.corruptions import corrupt
from diffaug.evaluation.images.pictures import LeftOut, each_picture
from diffaug.evaluation.images.pool import Pool
from diffaug.evaluation.images.sets import ScoredSet
from diffaug.evaluation.images.split import draw
from diffaug.evaluation.plan import freeze_plan, plan_evaluation
from diffaug.evaluation.settings import CORRUPTIONS, Evaluation
from diffaug.evaluation.statistics import difference, estimate
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.evaluation.trials.scoring import hits_of, score_of
from diffaug.evaluation.trials.training import Lesson, _batches, train_classifier
from diffaug.execution import Execution
from diffaug.recipe import Recipe
from tests.conftest import SHARDS
from tests.support.hostile import fashion, write_samples
from tests.support.networks import vit
from tests.support.small_pictures import PIXELS, pictures

LABELS = np.repeat(np.arange(3), 20)


def test_what_is_no_sample_is_not_counted_among_what_cannot_be_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [{"__key__": b"README", "txt": b"..."}, *fashion(3), {"__key__": b"b", "cls": b"1"}]
    shard = str(write_samples(tmp_path / "s.tar", samples))
    left_out = LeftOut()
    recipe = Recipe(label_key=".cls", carry="caption", mask_key="mask.png")  # of no use here
    found = list(each_picture([shard], recipe, left_out))
    assert [picture.label for picture in found] == [int(one["cls"]) for one in fashion(3)]
    assert (left_out.count, len(left_out.first)) == (1, 1)
    list(each_picture([shard], recipe))
    assert caplog.messages == [
        f"{shard}: 1 passed over, without an image, class, mask or carried member: README"
    ]


def test_a_draw_is_balanced_nested_and_apart_from_validation() -> None:
    five, eight = (draw(LABELS, PIXELS, 0, count, 4) for count in (5, 8))
    assert np.bincount(LABELS[five.labelled]).tolist() == [5, 5, 5]
    assert np.array_equal(eight.labelled[:15], five.labelled)
    assert np.array_equal(eight.validation, five.validation)
    assert np.bincount(LABELS[eight.validation]).tolist() == [4, 4, 4]
    assert not set(eight.labelled) & set(eight.validation)
    assert set(draw(LABELS, PIXELS, 1, 5, 4).labelled) != set(five.labelled)


def test_a_draw_does_not_know_the_order_of_the_source() -> None:
    there = draw(LABELS, PIXELS, 3, 5, 4)
    order = np.random.default_rng(1).permutation(60)
    here = draw(LABELS[order], [PIXELS[n] for n in order], 3, 5, 4)
    assert np.array_equal(order[here.labelled], there.labelled)
    assert np.array_equal(order[here.validation], there.validation)


def test_a_class_with_too_few_samples_is_named() -> None:
    with pytest.raises(ConfigError, match="class 2 has 20 samples, but 18 labelled and 3"):
        draw(np.append(LABELS, [0, 1]), [*PIXELS, "a", "b"], 0, 18, 3)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_corruption_is_an_images_own_and_grows(kind: str, channels: int) -> None:
    images = pictures(channels=channels)
    made = [corrupt(images, PIXELS[:6], kind, severity) for severity in (1, 3, 5)]
    order = [4, 0, 2]
    again = corrupt(images[order], [PIXELS[n] for n in order], kind, 3)
    assert np.array_equal(again, made[1][order])
    errors = [np.square(one - images.astype(float)).mean() for one in made]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_its_shards_may_be_spelled_otherwise(tmp_path: Path) -> None:
    """By other names it is the same evaluation, and a shard of the source is still no test."""
    (tmp_path / "link").symlink_to(SHARDS[0].parent)
    output = str(tmp_path / "out")
    begun = plan_evaluation([str(SHARDS[0])], output, test=[str(SHARDS[1])])
    freeze_plan(begun, output)
    for source in (f"{tmp_path}/link/{SHARDS[0].name}", f"file:{SHARDS[0]}"):
        assert plan_evaluation([source], output, test=[f"/{SHARDS[1]}"]) == begun
        with pytest.raises(ConfigError, match="is a source too"):
            plan_evaluation([source], output, test=[str(SHARDS[0])])
    with pytest.raises(ConfigError, match="another evaluation: sources"):
        plan_evaluation([str(SHARDS[2])], output, test=[str(SHARDS[1])])


def test_corruptions_are_what_they_say() -> None:
    grey = np.full((4, 64, 64, 1), 128, dtype=np.uint8)
    noisy = corrupt(grey, PIXELS[:4], "noise", 2)
    assert np.std(noisy.astype(float)) == pytest.approx(0.12 * 255, rel=0.03)
    occluded = corrupt(grey, PIXELS[:4], "occlusion", 4)
    assert (occluded == 0).sum(axis=(1, 2, 3)).tolist() == [32 * 32] * 4
    images = pictures()
    flat = corrupt(images, PIXELS, "contrast", 3).astype(float)
    assert np.allclose(flat.std(axis=(1, 2, 3)), 0.3 * images.std(axis=(1, 2, 3)), atol=0.5)
    file = io.BytesIO()
    Image.fromarray(images[0, ..., 0]).save(file, "JPEG", quality=7)
    with Image.open(file) as picture:
        assert np.array_equal(corrupt(images, PIXELS, "jpeg", 5)[0, ..., 0], np.asarray(picture))


def test_intervals_are_scipys() -> None:
    from scipy import stats

    random = np.random.default_rng(0)
    one, other = random.normal(80, 1, 6), random.normal(78, 1, 6)
    plain = stats.ttest_1samp(one, 0).confidence_interval(0.95)
    assert (estimate(one).low, estimate(one).high) == pytest.approx((plain.low, plain.high))
    paired = stats.ttest_rel(one, other).confidence_interval(1 - 0.05 / 7)
    found = difference(one, other, 7)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))
    assert found.mean == pytest.approx(np.mean(one - other))


def test_what_measures_are() -> None:
    """Against scipy, and bins that are counted by hand."""
    targets = np.array([0, 0, 0, 1])
    confidences = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.35, 0.65]], dtype=np.float32)
    scored = ScoredSet("test", "clean", 0, pictures(4), targets)
    score = score_of(scored, confidences, targets)
    assert (score.right, score.images, score.right_by_class) == (3, 4, (2, 1))
    assert score.balanced == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert score.nll == pytest.approx(log_loss(confidences, targets), rel=1e-5)
    assert score.ece == pytest.approx(100 * (0.1 + 0.4 + 0.8 + 0.35) / 4, abs=1e-3)
    assert score_of(scored, np.full_like(confidences, np.nan), targets).right == 3  # class 0
    right = confidences.argmax(axis=1) == targets
    assert hits_of([]) is None
    hits = hits_of([("clean", right), *[("blur", right)] * 3])
    assert hits is not None
    assert hits.tolist() == [[1, 1, 0, 1], [3, 3, 0, 3]]


def log_loss(confidences: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """By torch."""
    logits = torch.from_numpy(np.log(confidences))
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets)).item()


@pytest.mark.parametrize(
    ("side", "channels", "stage"), [(28, 1, 14), (32, 3, 16), (96, 3, 12), (128, 3, 16), (8, 3, 8)]
)
def test_a_residual_network_of_any_size_is_small(side: int, channels: int, stage: int) -> None:
    model = new_classifier("resnet", Task(channels, 7, side), seed=0).eval()
    assert 290_000 < sum(weight.numel() for weight in model.parameters()) < 330_000
    seen: list[tuple[int, ...]] = []
    for module in model.modules():
        if type(module).__name__ == "_Block":
            module.register_forward_hook(lambda *given: seen.append(tuple(given[2].shape)))
    logits = model(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert [shape[1] for shape in seen] == [32, 32, 64, 64, 96]
    assert [seen[place][2] for place in (0, 2, 4)] == [stage, -(-stage // 2), -(-stage // 4)]


def test_a_training_learns_and_comes_out_the_same() -> None:
    images = np.concatenate([pictures(8) // 8, pictures(8)])
    lesson = Lesson(images, np.repeat([0, 1], 8), 2)
    settings = Evaluation(train_steps=60, train_batch=16)
    on = Execution.choose(dtype="float32", device="cpu")
    found = train_classifier(lesson, settings, 0, on).confidences(images)
    assert (found.argmax(axis=1) == lesson.targets).mean() > 0.9
    again, other = (train_classifier(lesson, settings, n, on).confidences(images) for n in (0, 1))
    assert np.array_equal(again, found)
    assert not np.array_equal(other, found)


def four_shades() -> tuple[NDArray[np.uint8], Pool]:
    """Four images, black to white, and copies of two, which are darker by one."""
    grey = np.array([0, 60, 120, 180], dtype=np.uint8)
    images = np.tile(grey[:, None, None, None], (1, 8, 8, 1))
    there = np.array([[False], [True], [True], [False]])
    return images, Pool(images[:, None] - 1, there, np.full((4, 1), 48.0))


def test_what_takes_an_images_place_brings_its_class() -> None:
    images, pool = four_shades()
    lesson = Lesson(images, np.arange(4), 4, pool, moved=False)
    settings = Evaluation(train_batch=8, train_steps=20)
    found = list(_batches(lesson, settings, 0, settings.train_steps))
    assert len(found) == 20
    for batch, targets, weights in found:
        assert torch.equal(weights, torch.ones(8))
        for place, (image, target) in enumerate(zip(batch, targets.argmax(dim=1), strict=True)):
            assert image[0, 0, 0] == 60 * int(target) - (place >= 4)
            assert place < 4 or int(target) in (1, 2)
    again = Lesson(images, np.arange(4), 4, repeated=True, moved=False)
    batch, targets, _ = next(_batches(again, settings, 0, settings.train_steps))
    assert np.array_equal(batch[:4], batch[4:])
    assert torch.equal(targets[:4], targets[4:])


def test_augmented_images_have_their_share_their_weight_and_softer_labels() -> None:
    images, pool = four_shades()
    settings = Evaluation(train_batch=8, train_steps=3, share=0.3, weight=0.25)
    lesson = Lesson(images, np.arange(4), 4, pool, moved=False, softened=0.4)
    for batch, targets, weights in _batches(lesson, settings, 0, settings.train_steps):
        made = batch[:, 0, 0, 0] % 60 == 59
        assert made.tolist() == [False] * 6 + [True] * 2
        assert torch.equal(weights, torch.tensor([1.0] * 6 + [0.25] * 2))
        largest, rest = targets.max(dim=1).values, targets.sort(dim=1).values[:, :3]
        assert torch.allclose(largest, torch.tensor([1.0] * 6 + [0.7] * 2))
        assert torch.allclose(rest[6:], torch.tensor(0.1))
    repeated = Lesson(images, np.arange(4), 4, repeated=True, moved=False)
    batch, _, weights = next(_batches(repeated, settings, 0, settings.train_steps))
    assert np.array_equal(batch[6:], batch[:2])
    assert torch.equal(weights, torch.ones(8))


def test_what_weighs_nothing_teaches_nothing() -> None:
    """The copies have the wrong classes; with hardly any weight the classifier learns the right."""
    dark, bright = pictures(8) // 8, pictures(8)
    images, targets = np.concatenate([dark, bright]), np.repeat([0, 1], 8)
    wrong = Pool(images[::-1][:, None].copy(), np.ones((16, 1), bool), np.full((16, 1), 9.0))
    lesson, on = Lesson(images, targets, 2, wrong), Execution.choose(dtype="float32", device="cpu")
    right = [
        (train_classifier(lesson, settings, 0, on).confidences(images).argmax(1) == targets).mean()
        for settings in (
            Evaluation(train_steps=60, train_batch=16, weight=1e-6),
            Evaluation(train_steps=60, train_batch=16, weight=1e6),
        )
    ]
    assert right[0] > 0.9
    assert right[1] < 0.1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("arms", "blurs", "arms: unknown 'blurs': use real"),
        ("corruptions", ["rain"], "corruptions: unknown 'rain'"),
        ("severities", "1,6", "severities are whole numbers from 1 to 5, got 6"),
        ("labels", "50,20", "labels: give each value once, in ascending order"),
        ("strengths", "1.5", "less than or equal to 1"),
        ("seeds", "1", "greater than or equal to 2"),
        ("arms", "jitter+blur", r"jitter\+blur cannot be joined: use trivial-augment, jitter"),
        ("arms", "reconstruct+one-step", "one of the last three at most"),
        ("arms", "jitter+jitter", "each once"),
        ("augmented", ["mixup=x.tar"], "augmented is NAME=SHARDS or NAME=FOLDER, with a name that"),
        ("augmented", ["x.tar"], "augmented is NAME=SHARDS"),
        ("augmented", ["reconstruct-0.3=x.tar"], "with a name that is no other arm's"),
        ("arms", "jitter+mixup,mixup+jitter", "is there twice: what is joined has no order"),
        ("until", "1", "until requires seeds to add: give the most there may be, above 5"),
        ("augmented", ["a=x.tar", "a=y.tar"], "give each name once"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Evaluation.of({field: value})


def test_a_transformers_model_is_given_images_as_its_processor_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body is kept, its head is new; what is not a model is named."""
    vit(tmp_path / "vit")
    model = new_classifier(str(tmp_path / "vit"), Task(channels=3, classes=4, side=32), seed=0)
    images = torch.from_numpy(pictures(2, 3)).permute(0, 3, 1, 2) / 255
    logits = model(images)
    assert logits.shape == (2, 4)
    processor: Any = transformers.AutoImageProcessor
    prepare = processor.from_pretrained(tmp_path / "vit", backend="pil")
    seen = [Image.fromarray(image) for image in pictures(2, 3)]
    values = prepare(images=seen, return_tensors="pt")["pixel_values"]
    direct = model.model(values).logits  # type: ignore[operator]
    assert torch.allclose(direct, logits, atol=0.1)  # Pillow rounds to bytes
    body: Any = transformers.ViTForImageClassification
    saved = body.from_pretrained(tmp_path / "vit").vit.state_dict()
    ours = dict(model.named_parameters())
    assert all(torch.equal(ours[f"model.vit.{name}"], value) for name, value in saved.items())
    monkeypatch.setenv("HOME", str(tmp_path))
    grey = new_classifier("~/vit", Task(channels=1, classes=4, side=32), seed=0)
    assert torch.equal(grey(images[:, :1]), grey(images[:, :1].expand(-1, 3, -1, -1)))
    with pytest.raises(ConfigError, match=r"classifier .*empty: transformers cannot load an image"):
        new_classifier(str(tmp_path / "empty"), Task(3, 4, 32), 0)
