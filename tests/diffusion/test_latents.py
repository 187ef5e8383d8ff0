"""Latent models through the lanes: what is shared, and every sample as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import diffaug
from diffaug.diffusion.batched import Batched
from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.latents import Autoencoder, LatentSteps
from diffaug.diffusion.samplers import trajectory
from diffaug.diffusion.schedule import Schedule
from diffaug.diffusion.steps import Steps
from diffaug.editor import Draft, PictureEditor, Source
from diffaug.execution import Execution
from diffaug.models import Pretrained, checkpoint_of
from diffaug.recipe import Recipe
from tests.support import tiny
from tests.support.drafts import draft_copies
from tests.support.jobs import threads

FIELDS: tuple[dict[str, Any], ...] = ({"label_text": "cat"}, {"label_text": "dog"}, {"label": 3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion_xl(tmp_path_factory.mktemp("xl"))


def picture(number: int) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)


def editor(
    folder: Path, batch_size: int = 4, dtype: str = "float32", **fields: Any
) -> PictureEditor:
    recipe = Recipe.of({"model": str(folder), "steps": 6, **fields})
    execution = Execution.choose(batch_size, dtype, "cpu")
    return PictureEditor(recipe, checkpoint_of(recipe), execution)


def run(one: PictureEditor, drafts: Sequence[Draft]) -> list[NDArray[np.float32]]:
    made = list(one.steps().run((number, draft.edit) for number, draft in enumerate(drafts)))
    assert [tag for tag, _ in made] == list(range(len(drafts)))
    return [x_0 for _, x_0 in made if x_0 is not None]


def mixed(folder: Path, batch_size: int, dtype: str) -> list[tuple[PictureEditor, Draft]]:
    """Prompts, strengths, samplers and guidance scales of all kinds, with and without a mask."""
    recipes: list[dict[str, Any]] = [
        {"prompt": "a photo of a {label_text}", "strength": 0.9, "guidance": 7.5},
        {"prompt": "a {label_text}", "strength": 0.3, "sampler": "ddpm"},
        {"strength": 0.7, "guidance": 2.0, "negative_prompt": "blurry", "sampler": "ddim"},
        {"prompt": "{label_text}", "strength": 0.8, "guidance": 4, "guidance_interval": "0.2:0.5"},
        {"strength": 1.0, "sampler": "lcm"},
    ]
    mask = Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), 8))
    editors = [editor(folder, batch_size, dtype, steps=4, **fields) for fields in recipes]
    found = []
    for number, one in enumerate(editors * 2):
        keep = mask if number % 3 == 2 else None
        (draft,) = draft_copies(one, picture(number), FIELDS[number % 2], [number], keep)
        found.append((one, draft))
    return found


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("family", "batch_size", "dtype"),
    [
        ("folder", 1, "float32"),  # one lane has no neighbours, whatever the model
        *(("folder", 4, "float32"), ("xl", 4, "bfloat16")),
        pytest.param("folder", 4, "bfloat16", marks=pytest.mark.proof),
        pytest.param("xl", 4, "float32", marks=pytest.mark.proof),
    ],
)
def test_each_sample_is_as_if_alone(
    request: pytest.FixtureRequest, family: str, batch_size: int, dtype: str
) -> None:
    plans = mixed(request.getfixturevalue(family), batch_size, dtype)
    drafts = [draft for _, draft in plans]
    together = run(plans[0][0], drafts)
    backwards = run(plans[0][0], drafts[::-1])[::-1]
    with threads(2):
        side_by_side = run(plans[0][0], drafts)
    for number, (one, draft) in enumerate(plans):
        (alone,) = run(one, [draft])
        assert alone.tobytes() == together[number].tobytes()
        assert alone.tobytes() == backwards[number].tobytes()
        assert alone.tobytes() == side_by_side[number].tobytes()
    assert len({one.tobytes() for one in together}) == len(plans)


# What is shared


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Rows that the tiny model's parts are called for, padding left out, by part."""
    rows = dict.fromkeys(("encoded", "decoded", "denoised", "prompts"), 0)
    call = Batched.__call__

    def counting(self: Batched, *inputs: torch.Tensor) -> torch.Tensor:
        rows[_part(self)] += len(inputs[0])
        return call(self, *inputs)

    monkeypatch.setattr(Batched, "__call__", counting)
    return rows


def _part(batched: Any) -> str:
    name = getattr(batched._network, "__name__", "denoise")
    return {"encode": "encoded", "decode": "decoded", "denoise": "denoised"}[name]


def test_four_copies_cost_one_encode(counted: dict[str, int], folder: Path) -> None:
    one = editor(folder, copies=4, strength=0.5, prompt=["a {label_text}", "the {label_text}"])
    drafts = [
        draft
        for number in range(3)
        for draft in draft_copies(one, picture(number), FIELDS[number % 2], range(4))
    ]
    run(one, drafts)
    assert counted["encoded"] == 3
    assert counted["decoded"] == 12
    assert counted["denoised"] == 12 * 3


def test_one_picture_many_copies_is_still_encoded_once(
    counted: dict[str, int], folder: Path
) -> None:
    """More copies than there are lanes."""
    one = editor(folder, batch_size=2, strength=0.2)
    run(one, draft_copies(one, picture(0), {}, range(40)))
    assert counted["encoded"] == 1


def test_each_distinct_prompt_is_encoded_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    one = editor(folder, prompt="a {label_text}", guidance=3, batch_size=3)
    prompts = one.model.prompts
    assert prompts is not None
    encode = prompts._encode

    def counting(prompt: str | None) -> tuple[torch.Tensor, ...]:
        seen.append(prompt)
        return encode(prompt)

    monkeypatch.setattr(prompts, "_encode", counting)
    prompts._known.clear()
    for number in range(8):
        draft_copies(one, picture(number), FIELDS[number % 2], range(3))
    draft_copies(one, picture(9), {"label_text": "new"}, [0])
    assert seen == ["a cat", None, "a dog", "a new"]


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, 6),
        ({"guidance": 1.0, "prompt": "a"}, 6),
        ({"guidance": 3.0, "prompt": "a"}, 12),
        ({"guidance": 3.0, "prompt": "a", "guidance_interval": "0.5:1"}, 6 + 4),
    ],
)
def test_guidance_is_paid_for_where_it_is_asked_for(
    counted: dict[str, int], folder: Path, fields: dict[str, Any], rows: int
) -> None:
    one = editor(folder, strength=1.0, sampler="ddim", **fields)
    run(one, draft_copies(one, picture(0), {}, [0]))
    assert counted["denoised"] == rows


def test_rows_with_guidance_share_calls_with_those_without(folder: Path) -> None:
    """Ten rows, of which five are led by a second one: 15 rows in 4 calls of 4."""
    shapes: list[int] = []
    one = editor(folder, strength=0.1, steps=1)
    network = one.model.denoiser.network

    def counting(x_t: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        shapes.append(len(x_t))
        return network(x_t, *rest)

    guided = editor(folder, strength=0.1, steps=1, guidance=3, prompt="a")
    plans = [
        draft_copies((guided if number % 2 else one), picture(number), {}, [0])[0]
        for number in range(10)
    ]
    model = replace(one.model, denoiser=replace(one.model.denoiser, network=counting))
    with threads(4):
        list(model.steps(4).run((None, draft.edit) for draft in plans))
    assert shapes == [4] * 4


# Order and memory of the two stages around the lanes


TOY_SCHEDULE = Schedule.flow(torch.linspace(0.01, 1, 100))


def toy_lanes(lanes: int = 4) -> Steps[int, Edit]:
    """A model whose latents are every second pixel, and which makes nothing of them."""

    def encode(batch: torch.Tensor) -> torch.Tensor:
        return batch[:, :1, ::2, ::2]

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1)

    denoiser = Denoiser(
        network=lambda x_t, t: torch.zeros_like(x_t),
        schedule=TOY_SCHEDULE,
        prediction="sample",
        clip=Clip(),
        shape=(1, 4, 4),
        classes=0,
        null_class=None,
        device=torch.device("cpu"),
    )
    model = Pretrained(
        denoiser=denoiser,
        shape=(3, 8, 8),
        autoencoder=Autoencoder(encode=encode, decode=decode, factor=2),
    )
    made = model.steps(lanes)
    assert isinstance(made, LatentSteps)
    return made


def test_what_has_no_edit_keeps_its_place() -> None:
    lanes = toy_lanes()
    way = trajectory("ddim", TOY_SCHEDULE, (50,))
    whole = np.ones((3, 8, 8), np.float32)
    one = Edit(x_0=whole, noise=np.zeros((1, 1, 4, 4), np.float32), trajectory=way)
    stream: list[Edit | None] = [None, one, None, one, one, None, None, *[None] * 30, one, None]
    found = list(lanes.run(enumerate(stream)))
    assert [tag for tag, _ in found] == list(range(len(stream)))
    assert [x_0 is None for _, x_0 in found] == [edit is None for edit in stream]


def test_the_two_stages_read_no_further_than_they_must() -> None:
    lanes = toy_lanes()
    way = trajectory("ddim", TOY_SCHEDULE, (50,))
    read: list[int] = []

    def edits() -> Iterator[tuple[int, Edit]]:
        for tag in range(10_000):
            read.append(tag)
            x_0 = np.full((3, 8, 8), tag, np.float32)
            yield tag, Edit(x_0=x_0, noise=np.zeros((1, 1, 4, 4), np.float32), trajectory=way)

    for tag, _ in lanes.run(edits()):
        assert len(read) - tag < 20 * lanes.count
        if tag > 500:
            break


# Masks


def test_what_is_masked_is_kept_to_the_bit_and_the_rest_changes(folder: Path) -> None:
    one, source = editor(folder, strength=0.8), picture(0)
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    (draft,) = draft_copies(one, source, {}, [0], mask)
    (x_0,) = run(one, [draft])
    result, before = np.asarray(draft.finish.picture(x_0)), np.asarray(source)
    assert np.array_equal(result[:, 16:], before[:, 16:])
    assert (result[:, :16] != before[:, :16]).mean() > 0.9


def test_a_mask_keeps_latents_on_the_forward_process(folder: Path) -> None:
    """Where nothing may change, what comes out is the encoded image itself."""
    one, source = editor(folder, strength=0.8, sampler="ddpm"), picture(0)
    (draft,) = draft_copies(one, source, {}, [0], Image.new("L", (32, 32)))
    (x_0,) = run(one, [draft])
    assert one.model.autoencoder is not None
    (again,) = run(editor(folder, strength=0.8), [draft])
    whole = torch.from_numpy(np.asarray(source, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = one.model.autoencoder.decode(one.model.autoencoder.encode(whole))
    np.testing.assert_allclose(x_0, expected[0].numpy(), atol=1e-5)
    assert x_0.tobytes() == again.tobytes()


# What is refused, and in which words


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"condition": "label"}, "takes no class; put it into a prompt"),
        ({"embeddings": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"lora": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"autoencoder": "nowhere"}, "nowhere"),
        ({"prompt": "a {label.__class__}"}, "it can name {label}, {label_text}, {key}"),
        ({"prompt": "a {"}, "write a literal brace twice"),
        ({"guidance_interval": "0.8:0.2"}, "guidance_interval must be lo:hi"),
        ({"guidance_interval": "1"}, "guidance_interval must be lo:hi"),
        ({"guidance": 5.0}, "there is no prompt to guide towards"),
    ],
)
def test_a_recipe_the_model_cannot_do(folder: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(diffaug.ConfigError) as caught:
        editor(folder, **fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "a cat"}, "prompt: model cifar10-32 is not a text-to-image model"),
        ({"guidance": 2.0}, "is given no class to guide towards"),
        ({"lora": "x"}, ""),
    ],
)
def test_a_pixel_model_takes_no_words(fields: dict[str, Any], said: str) -> None:
    recipe = Recipe.of(fields)
    with pytest.raises(diffaug.ConfigError) as caught:
        PictureEditor(recipe, checkpoint_of(recipe), Execution.choose(2))
    assert said in str(caught.value)


def test_a_sample_without_what_its_prompt_names(folder: Path) -> None:
    one = editor(folder, prompt=["a picture", "a photo of a {label_text}"])
    draft_copies(one, picture(0), {}, [0, 2])
    planned = one.plan(Source(image=picture(0), stored=picture(0)), range(4))
    assert [isinstance(draft, Draft) for draft in planned] == [True, False, True, False]
    with pytest.raises(
        diffaug.DefectError, match=r"names .label_text., which the sample does not have"
    ) as said:
        draft_copies(one, picture(0), {"label": 3}, [0, 1])
    assert said.value.code == "no_label_text"
