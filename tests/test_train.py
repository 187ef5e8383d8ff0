"""Training: what a recipe means, in what order data comes, and that a stop leaves no trace."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffaug import DiffusionModel, storage
from diffaug.errors import ConfigError, DivergedError
from diffaug.schedule import Schedule
from diffaug.train.data import Batch, Position, batches, settle
from diffaug.train.loop import Step, train
from diffaug.train.recipe import NETWORKS, TrainRecipe
from tests.conftest import SHARDS
from tests.hostile import fashion, png, write_samples

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def tiny(**fields: Any) -> TrainRecipe:
    """A training that takes a second."""
    given = {
        "network": "tiny",
        "size": 8,
        "channels": 1,
        "steps": 6,
        "batch_size": 4,
        "warmup_steps": 2,
        "shuffle": 20,
        **fields,
    }
    return TrainRecipe(**given)


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """Two shards of ten real images each."""
    paths = [write_samples(tmp_path / f"in/s{i}.tar", fashion(10, 10 * i)) for i in range(2)]
    return [str(path) for path in paths]


def taken(shards: list[str], recipe: TrainRecipe, count: int, start: Position) -> list[Batch]:
    return list(islice(batches(shards, recipe, start), count))


def fingerprints(made: list[Batch]) -> list[bytes]:
    return [image.tobytes() for batch in made for image in batch.x_0]


# the recipe


@pytest.mark.parametrize("preset", NETWORKS)
@pytest.mark.parametrize("size", [8, 32, 40])
def test_a_preset_is_a_network_for_any_multiple_of_eight(preset: str, size: int) -> None:
    from diffusers import UNet2DModel

    recipe = TrainRecipe(network=preset, size=size, channels=3)
    with torch.device("meta"):
        unet: Any = UNet2DModel(**recipe.unet_config())
    million = sum(weight.numel() for weight in unet.parameters()) / 1e6
    low, high = {"tiny": (0.1, 0.5), "small": (1.5, 2.5), "base": (30, 40)}[preset]
    assert low < million < high


def test_every_field_of_the_network_can_be_overridden_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "network:\n  preset: tiny\n  layers_per_block: 2\n  block_out_channels: [8, 16, 24]\n"
        "  dropout: 0.25\n  act_fn: gelu\n  norm_eps: 1e-5\nclasses: [cat, dog]\n"
        "min_snr_gamma: none\nsize: 16\nchannels: 1\n"
    )
    recipe = TrainRecipe.from_yaml(path, steps="7")
    config = recipe.unet_config()
    assert config["layers_per_block"] == 2
    assert config["block_out_channels"] == [8, 16, 24]
    assert config["dropout"] == 0.25
    assert config["act_fn"] == "gelu"
    assert config["norm_eps"] == 1e-5
    assert config["norm_num_groups"] == 8
    assert (recipe.class_count, recipe.class_names, recipe.steps) == (2, ("cat", "dog"), 7)
    assert recipe.min_snr_gamma is None
    recipe.to_yaml(tmp_path / "again.yaml")
    assert TrainRecipe.from_yaml(tmp_path / "again.yaml") == recipe


def test_a_field_as_a_flag_has_it_is_the_field() -> None:
    texts = {"size": "16", "channels": "1", "classes": "10", "min_snr_gamma": "5", "seed": "3"}
    recipe = TrainRecipe.of(dict(texts))
    assert {name: str(getattr(recipe, name)).removesuffix(".0") for name in texts} == texts


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"network": "huge"}, "network must be tiny, small, base"),
        ({"network": {"preset": "huge"}}, "network must be tiny, small, base"),
        ({"size": 30}, "size: .*multiple of 8"),
        ({"channels": 2}, "channels"),
        ({"prediction": "noise"}, "prediction"),
        ({"steps": 0}, "steps"),
        ({"stepz": 3}, "stepz: no such field"),
        ({"classes": -1}, "classes is a number"),
        ({"classes": "-1"}, "classes is a number"),
        ({"classes": "ten"}, "classes is a number"),
        ({"network": {"in_channels": 3}}, "leave out in_channels, and give channels instead"),
        ({"network": {"preset": ["tiny"]}}, "network must be tiny, small, base"),
        ({"channels": "["}, "channels"),
        ({"min_snr_gamma": 0}, "min_snr_gamma"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainRecipe.of(fields)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("linear", {"beta_schedule": "linear"}),
        ("scaled-linear", {"beta_schedule": "scaled_linear", "beta_start": 0.00085}),
        ("cosine", {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_schedules_are_diffusers_own(name: str, theirs: dict[str, Any]) -> None:
    schedule = Schedule.from_config(TrainRecipe(schedule=name).schedule_config())
    end = {"beta_end": 0.012} if name == "scaled-linear" else {}
    reference: Any = DDPMScheduler(**theirs, **end)
    np.testing.assert_allclose(schedule.alphas_cumprod, reference.alphas_cumprod.double().numpy())


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    """Nichol & Dhariwal 2021, eq. 17, up to where beta is capped."""
    schedule = Schedule.from_config(TrainRecipe(schedule="cosine").schedule_config())
    t = np.arange(1, 990) / 1000
    angle = (np.array([0, *t]) + 0.008) / 1.008 * math.pi / 2
    f = np.cos(angle) ** 2
    np.testing.assert_allclose(schedule.alphas_cumprod[:989], f[1:] / f[0], rtol=2e-4)


# the data


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own(source: list[str]) -> None:
    recipe = tiny()
    ten = taken(source, recipe, 10, Position())
    first, second = fingerprints(ten[:5]), fingerprints(ten[5:])
    assert Counter(first) == Counter(second)
    assert len(set(first)) == 20
    assert first != second
    assert [batch.position for batch in ten][4] == Position(0, 20)
    assert fingerprints(taken(source, recipe, 10, Position())) == first + second
    other = fingerprints(taken(source, tiny(seed=1), 5, Position()))
    assert other not in (first, second)


@pytest.mark.parametrize("after", [1, 4, 5, 7])
def test_the_data_goes_on_from_any_position(source: list[str], after: int) -> None:
    """Batches of 6 from 20 images, so that epochs end within one."""
    recipe = tiny(batch_size=6, shuffle=7)
    straight = taken(source, recipe, 12, Position())
    rest = taken(source, recipe, 12 - after, straight[after - 1].position)
    assert fingerprints(straight[:after]) + fingerprints(rest) == fingerprints(straight)


def test_labels_come_with_their_images(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "s.tar", fashion(10))
    (batch,) = taken([str(path)], tiny(classes=10, batch_size=10), 1, Position())
    by_pixels = {}
    for sample in fashion(10):
        (one,) = taken(
            [str(write_samples(tmp_path / "one.tar", [sample]))],
            tiny(classes=10, batch_size=1),
            1,
            Position(),
        )
        by_pixels[one.x_0.tobytes()] = int(sample["cls"])
    found = {x_0.tobytes(): int(label) for x_0, label in zip(batch.x_0, batch.labels, strict=True)}
    assert found == by_pixels


def test_what_cannot_be_used_is_skipped_and_named(tmp_path: Path) -> None:
    good = fashion(4)
    bad = [
        {"__key__": b"torn", "png": png(5)[:60], "cls": b"1"},
        {"__key__": b"nolabel", "png": png(6)},
        {"__key__": b"alien", "png": png(7), "cls": b"12"},
        {"__key__": b"nopicture", "cls": b"1"},
    ]
    path = write_samples(tmp_path / "s.tar", [*bad[:2], *good, *bad[2:]])
    made = taken([str(path)], tiny(classes=10), 2, Position())
    skipped = [one for batch in made for one in batch.skipped]
    assert Counter(one.key for one in skipped) >= Counter(["torn", "nolabel", "alien", "nopicture"])
    reasons = {one.key: one.reason for one in skipped}
    assert "cannot be decoded" in reasons["torn"]
    assert "no integer class" in reasons["nolabel"]
    assert "class 12 is not one of the 10" in reasons["alien"]
    assert "no image member" in reasons["nopicture"]
    assert len(set(fingerprints(made))) == 4


def test_a_source_without_images_says_so_instead_of_going_round(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "s.tar", [{"__key__": b"torn", "png": png(0)[:60]}])
    with pytest.raises(ConfigError, match="no sample of the source can be used: the first one"):
        next(batches([str(path)], tiny(), Position()))
    with pytest.raises(ConfigError, match="no image in the source"):
        settle(TrainRecipe(), [str(path)])


@pytest.mark.parametrize(
    ("mode", "size", "settled"),
    [("L", (28, 28), (32, 1)), ("RGB", (30, 17), (32, 3)), ("RGB", (64, 64), (64, 3))],
)
def test_size_and_channels_are_those_of_the_images(
    tmp_path: Path, mode: str, size: tuple[int, int], settled: tuple[int, int]
) -> None:
    image = Image.effect_noise(size, 60).convert(mode)
    if mode == "RGB":
        image.putpixel((0, 0), (255, 0, 0))
    image.save(tmp_path / "x.png")
    grey = {"__key__": b"a", "png": png(0)}
    sample = {"__key__": b"b", "png": (tmp_path / "x.png").read_bytes()}
    path = write_samples(tmp_path / "s.tar", [grey, sample])
    recipe = settle(TrainRecipe(), [str(path)])
    assert (recipe.size, recipe.channels) == settled


def test_large_images_want_a_size(tmp_path: Path) -> None:
    Image.effect_noise((300, 20), 60).save(tmp_path / "x.png")
    sample = {"__key__": b"a", "png": (tmp_path / "x.png").read_bytes()}
    path = write_samples(tmp_path / "s.tar", [sample])
    with pytest.raises(ConfigError, match="up to 300 pixels"):
        settle(TrainRecipe(), [str(path)])
    assert settle(TrainRecipe(size=64), [str(path)]).size == 64


# the loop


def run(source: list[str], folder: Path, recipe: TrainRecipe, **options: Any) -> list[Step]:
    return list(train(source, folder, recipe, dtype="float32", device="cpu", **options))


def state(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "training/state.pt", weights_only=True)
    return loaded


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested state as one level of tensors and plain values."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = dict(enumerate(value)).items()
    else:
        return {name: value}
    return {key: leaf for k, v in items for key, leaf in flat(v, f"{name}/{k}").items()}


def same(one: Path, other: Path) -> None:
    """Two trainings stand at the same place, bit for bit, and saved the same weights."""
    left, right = flat(state(one)), flat(state(other))
    assert left.keys() == right.keys()
    for name, value in left.items():
        equal = torch.equal(value, right[name]) if torch.is_tensor(value) else value == right[name]
        assert equal, name
    assert (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def test_a_stopped_training_goes_on_as_if_it_had_not(source: list[str], tmp_path: Path) -> None:
    recipe = tiny(steps=12, classes=10, network={"preset": "tiny", "dropout": 0.2})
    straight = run(source, tmp_path / "straight", recipe)
    first = train(
        source, tmp_path / "halves", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    begun = list(islice(first, 7))
    first.close()  # type: ignore[attr-defined]
    rest = run(source, tmp_path / "halves", recipe, resume=True)
    assert [step.step for step in begun + rest] == list(range(1, 13))
    assert [step.loss for step in begun + rest] == [step.loss for step in straight]
    same(tmp_path / "straight", tmp_path / "halves")
    assert run(source, tmp_path / "halves", recipe, resume=True) == []


@pytest.mark.services
def test_two_hundred_steps_are_a_hundred_a_kill_and_a_hundred(tmp_path: Path) -> None:
    """The command itself, killed without warning somewhere past its hundredth step."""
    arguments = [
        *("--network", "tiny", "--size", "16", "--steps", "200", "--batch-size", "8"),
        *("--classes", "10", "--shuffle", "50", "--preview-steps", "150"),
        *("--checkpoint-minutes", "0.01", "--dtype", "float32"),
    ]

    def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "diffaug", "train", *map(str, SHARDS), str(folder)]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}  # two of them share the machine
        return subprocess.Popen([*command, *arguments, *more], stderr=subprocess.DEVNULL, env=alone)

    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process, other = start(killed), start(straight)
    deadline = time.monotonic() + 120
    while not (killed / "training/state.pt").exists() or state(killed)["trainer"]["step"] < 100:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stood = state(killed)["trainer"]["step"]
    assert 100 <= stood < 200
    assert start(killed, "--resume").wait(timeout=120) == 0
    assert other.wait(timeout=120) == 0
    same(straight, killed)
    assert not list(killed.rglob(".*"))
    steps = [event.step for event in events(killed).Scalars("loss")]
    assert steps == list(range(1, 201))


def events(folder: Path) -> Any:
    """What TensorBoard itself reads."""
    accumulator = EventAccumulator(str(folder / "training"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_what_a_training_leaves(source: list[str], tmp_path: Path) -> None:
    steps = run(source, tmp_path / "c", tiny(classes=10), preview_steps=4)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.images for step in steps] == [4, 8, 12, 16, 20, 24]
    assert [step.saved for step in steps] == [False] * 5 + [True]
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path / "c")
    assert pipeline.unet.config.num_class_embeds == 11
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    names = {path.name for path in (tmp_path / "c/training").glob("*.png")}
    assert names == {
        f"{kind}-{step:06d}.png" for kind in ("samples", "reconstructions") for step in (4, 6)
    }
    with Image.open(tmp_path / "c/training/reconstructions-000006.png") as picture:
        assert np.asarray(picture).std() > 10
    logged = events(tmp_path / "c")
    assert [event.value for event in logged.Scalars("loss")] == pytest.approx(
        [step.loss for step in steps]
    )
    assert [step.learning_rate for step in steps][:3] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert steps[-1].learning_rate == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 3 / 4)))


@pytest.mark.parametrize("schedule", ["linear", "scaled-linear", "cosine"])
def test_colour_on_every_schedule(source: list[str], tmp_path: Path, schedule: str) -> None:
    recipe = tiny(channels=3, steps=1, schedule=schedule, prediction="x_0", min_snr_gamma=5)
    run(source, tmp_path / "c", recipe)
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path / "c")
    assert pipeline.unet.config.in_channels == pipeline.unet.config.out_channels == 3
    assert pipeline.unet.config.num_class_embeds is None
    assert pipeline.scheduler.config.prediction_type == "sample"
    made = DiffusionModel.from_pretrained(tmp_path / "c").sample(1, steps=2, batch_size=1)
    assert made.shape == (1, 3, 8, 8)


@pytest.mark.services
def test_it_learns(tmp_path: Path) -> None:
    """On copies of one image the best estimate of a clean image is that image."""
    path = write_samples(tmp_path / "s.tar", fashion(1))
    recipe = tiny(steps=150, batch_size=16, size=16, ema_decay=0.9, learning_rate=2e-3)
    steps = run([str(path)], tmp_path / "c", recipe)
    assert np.mean([step.loss for step in steps[-10:]]) < 0.1 * steps[0].loss
    (batch,) = taken([str(path)], recipe, 1, Position())
    model, image = DiffusionModel.from_pretrained(tmp_path / "c"), torch.from_numpy(batch.x_0[:1])
    edited = model.edit(image, 0.7, steps=10)
    assert (edited - image).square().mean() < 0.05 * image.square().mean()


def test_the_averaged_weights_are_an_exponential_average(source: list[str], tmp_path: Path) -> None:
    """Followed by hand: the weights saved after each step, averaged in float64."""
    recipe = tiny(steps=5, ema_decay=0.3)
    average: dict[str, Any] = {}
    made = train(
        source, tmp_path / "c", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    for count, _ in enumerate(made):
        decay = 0.0 if count == 0 else min(0.3, (1 + count) / (10 + count))
        now = {
            name: value.double()
            for name, value in state(tmp_path / "c")["trainer"]["model"].items()
        }
        average = {n: decay * average.get(n, v) + (1 - decay) * v for n, v in now.items()}
    saved = load_file(tmp_path / "c" / WEIGHTS)
    for name, value in saved.items():
        torch.testing.assert_close(
            value.double(), average[f"network.unet.{name}"], atol=1e-6, rtol=1e-5
        )


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    source: list[str], tmp_path: Path
) -> None:
    recipe = tiny(steps=50, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(DivergedError, match=r"checkpoint of step 1 in .* is the last good one"):
        run(source, tmp_path / "c", recipe, checkpoint_minutes=1e-9)
    assert state(tmp_path / "c")["trainer"]["step"] == 1
    assert DDPMPipeline.from_pretrained(tmp_path / "c")
    with pytest.raises(DivergedError, match="no checkpoint had been written yet"):
        run(source, tmp_path / "d", recipe)


def test_skipped_samples_are_counted_and_kept_by_name(tmp_path: Path) -> None:
    torn = {"__key__": b"torn", "png": png(5)[:60]}
    path = write_samples(tmp_path / "s.tar", [*fashion(7), torn])
    steps = run([str(path)], tmp_path / "c", tiny(steps=4))
    assert [one.key for step in steps for one in step.newly_skipped] == ["torn"]
    read = 8 * steps[-1].epoch + state(tmp_path / "c")["position"]["sample"]
    assert steps[-1].images + steps[-1].skipped == read == 19
    lines = (tmp_path / "c/training/skipped.jsonl").read_text().splitlines()
    (line,) = map(json.loads, lines)
    assert line["key"] == "torn"
    assert line["shard"] == str(path)
    assert "cannot be decoded" in line["reason"]


def test_a_training_is_not_mixed_with_another(source: list[str], tmp_path: Path) -> None:
    run(source, tmp_path / "c", tiny())
    with pytest.raises(ConfigError, match="go on with --resume"):
        run(source, tmp_path / "c", tiny())
    with pytest.raises(ConfigError, match="training on other shards"):
        run(source[:1], tmp_path / "c", tiny(), resume=True)
    with pytest.raises(ConfigError, match=r"learning_rate is 0.001 there and 0.002 here"):
        run(source, tmp_path / "c", tiny(learning_rate=2e-3), resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match="not empty and holds no training"):
        run(source, other, tiny())


@pytest.mark.services
def test_a_kill_within_the_last_save_is_made_good(
    source: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any file, between the model's, and between them and the state that comes last."""
    run(source, tmp_path / "whole", tiny())
    publish = storage.publish
    for files in (0, 3, 6):
        folder, left = tmp_path / f"killed-{files}", [files]

        def until_killed(local: Path, url: str, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            publish(local, url)

        monkeypatch.setattr(storage, "publish", until_killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, folder, tiny())
        monkeypatch.setattr(storage, "publish", publish)
        run(source, folder, tiny(), resume=True)
        same(tmp_path / "whole", folder)
        assert DDPMPipeline.from_pretrained(folder)


def test_a_training_keeps_its_dtype(source: list[str], tmp_path: Path) -> None:
    first = train(source, tmp_path / "c", tiny(), dtype="float32", checkpoint_minutes=1e-9)
    next(first)
    first.close()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="holds a training in float32"):
        train(source, tmp_path / "c", tiny(), dtype="bfloat16", resume=True)
    list(train(source, tmp_path / "c", tiny(), resume=True))
    run(source, tmp_path / "straight", tiny())
    same(tmp_path / "straight", tmp_path / "c")


def test_weights_that_are_no_numbers_are_never_saved(source: list[str], tmp_path: Path) -> None:
    """A step so large that it ends in infinity leaves the last good checkpoint in place."""
    with pytest.raises(DivergedError, match="not finite: stopped; no checkpoint"):
        run(source, tmp_path / "c", tiny(steps=1, learning_rate=1e38, weight_decay=1e38))
    assert not (tmp_path / "c" / "model_index.json").exists()


def test_a_network_diffusers_cannot_build_is_a_mistake_in_the_recipe(
    source: list[str], tmp_path: Path
) -> None:
    recipe = tiny(network={"preset": "tiny", "nonsense": 1})
    with pytest.raises(ConfigError, match=r"network: diffusers cannot build or run it.*nonsense"):
        run(source, tmp_path / "c", recipe)
    assert not (tmp_path / "c").exists()
