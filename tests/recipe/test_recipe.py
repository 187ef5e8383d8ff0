"""The Recipe: what it takes, what it refuses and in which words, and what its digest covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from diffaug import ConfigError, Recipe
from diffaug.recipe.texts import TEXT_FIELDS
from diffaug.shards.reading import Reading
from diffaug.train.recipe import TrainRecipe

# Every field, with a value that is not its default. A new field must be placed in one of the two.
CHANGES_AN_IMAGE: dict[str, Any] = {
    "strength": 0.7,
    "steps": 21,
    "sampler": "one-step",
    "eta": 0.5,
    "seed": 1,
    "condition": "label",
    "fit": "resize",
    "format": "webp",
    "prompt": "a photo",
    "negative_prompt": "a drawing",
    "guidance": 2.0,
    "guidance_interval": "0.2:0.8",
    "guidance_every": 2,
    "lora_scale": 0.5,
    "mask_key": "mask.png",
    "result": "model",
    "background": "#808080",
    "medium": "clip",
    "noise_time": "mixed:0.5",
    "text_key": "json:words",
    "keep": "not,never",
    "temperature": 0.5,
    "top_p": 0.9,
    "long_text": "refuse",
}
CHANGES_NO_IMAGE: dict[str, Any] = {
    "model": "another-name-of-the-same-weights",
    "lora": "its weights enter the model's digest",
    "autoencoder": "so do these",
    "embeddings": ("and these",),
    "detail": "none",  # it enters the identity of those images that it changes
    "copies": 9,
    "balance": "classes",
    "max_copies": 9,
    "to_class": 3,  # so does the class that a copy is edited towards
    "image_key": ("jpg",),
    "label_key": "class",
    "carry": ("txt",),
    "max_pixels": 10,
    "judges": ("phash",),
    "filters": ("score_ssim >= 0.4",),
    "keep_best": 1,
    "keep_best_by": "score_ssim",
    "keep_rejects": False,
    "layout": "paired",
    "frames": 8,  # which frames are taken, the identity of the clip covers
    "fps": "12.5",
    "window": "0:2",
}

NEEDS: dict[str, dict[str, Any]] = {
    "negative_prompt": {"guidance": 2.0},
    "guidance_interval": {"guidance": 2.0},
    "guidance_every": {"guidance": 2.0},
    "lora_scale": {"lora": "x.safetensors"},
    "noise_time": {"medium": "clip"},
    **{name: {"medium": "text", "sampler": "random"} for name in TEXT_FIELDS},
    "keep_rejects": {"filters": "ssim > 0"},
    "max_copies": {"balance": "classes"},
    "to_class": {"condition": "label", "detail": "none"},
    "keep_best": {"copies": 2, "keep_best_by": "ssim"},
    "keep_best_by": {"copies": 2, "keep_best": 1},
}
"""What a field does nothing without."""

numbers = st.floats(1e-6, 1)
ranges = st.tuples(numbers, numbers).map(lambda pair: "{}:{}".format(*sorted(pair)))
recipes = st.builds(
    Recipe,
    strength=numbers | ranges | st.lists(numbers, min_size=1, max_size=4),
    steps=st.integers(1, 1000),
    sampler=st.sampled_from(["ddim", "one-step"]),
    copies=st.integers(1, 10_000),
    seed=st.integers(0, 2**63 - 1),
    condition=st.sampled_from(["none", "label"]),
    carry=st.lists(st.sampled_from(["txt", "json", "mask.png", "été"])),
)


def refusal(**fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Recipe.of(fields)
    return str(caught.value)


# What is refused


def test_an_unknown_field() -> None:
    assert "strenght: no such field (got 0.4)" in refusal(strenght=0.4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("steps", "many"),
        ("sampler", "euler"),
        ("copies", 0),
        ("copies", 10_001),
        ("seed", -1),
        ("seed", 2**63),
        ("condition", "prompt"),
        ("fit", "crop"),
        ("format", "bmp"),
        ("image_key", ()),
        ("image_key", 3),
        ("label_key", ""),
        ("max_pixels", 0),
    ],
)
def test_a_wrong_value_is_named_with_its_field(field: str, value: Any) -> None:
    said = refusal(**{field: value})
    assert said.startswith(f"recipe: {field}: ")
    assert "(got " in said
    assert "pydantic" not in said


def test_every_mistake_is_said_at_once() -> None:
    said = refusal(strength=2, steps=0, sample="ddim")
    assert all(word in said for word in ("strength must be", "steps: ", "sample: no such field"))


def test_the_constructor_refuses_with_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"strength must be in \(0, 1\], got 0"):
        Recipe(strength=0)


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().strength = 0.9  # type: ignore[misc]


# What is taken


def test_numbers_as_a_command_line_gives_them() -> None:
    recipe = Recipe.of({"steps": "3", "copies": "2", "seed": "7", "max_pixels": "100"})
    assert (recipe.steps, recipe.copies, recipe.seed, recipe.max_pixels) == (3, 2, 7, 100)


@pytest.mark.parametrize("names", ["txt,.JSON", "txt;json", ["txt", "json"], (" .txt", "json", "")])
def test_names_as_a_command_line_gives_them(names: Any) -> None:
    assert Recipe(carry=names).carry == ("txt", "json")


# Files


@settings(max_examples=40, deadline=None)
@given(recipe=recipes)
def test_json_brings_back_the_same_recipe(recipe: Recipe) -> None:
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe(**json.loads(recipe.model_dump_json())) == recipe


@settings(max_examples=40, deadline=None)
@given(recipe=recipes)
def test_yaml_brings_back_the_same_recipe(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.yaml"
    path.write_text(recipe.as_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe


def test_a_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("strength: [0.2, 0.4]\ncopies: 2\ncarry: txt,json\n")
    wanted = Recipe(strength=(0.2, 0.4), copies=3, carry=("txt", "json"))
    assert Recipe.from_yaml(path, copies=3) == wanted
    path.write_text("strength: 0.2:0.6\n")
    assert Recipe.from_yaml(str(path)).strength == "0.2:0.6"
    path.write_text("")
    assert Recipe.from_yaml(path) == Recipe()


@pytest.mark.parametrize("low", ["0", "0.0"])
def test_a_range_from_zero_in_a_file_is_refused(low: str, tmp_path: Path) -> None:
    """YAML 1.1 would read 0:0.5 as a number of base 60."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"strength: {low}:0.5\n")
    with pytest.raises(ConfigError, match=r"strength must be in \(0, 1\], got 0"):
        Recipe.from_yaml(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"strength: [0.2\n", "is not YAML"),
        (b"strength: \xff\n", "is not YAML"),
        (b"- 0.4\n", "must be a mapping"),
        (b"0.4\n", "must be a mapping"),
        (b"strength: 0\n", "strength must be in (0, 1]"),
        (b"strenght: 0.4\n", "strenght: no such field"),
        (b"1: 2\n", "1: no such field"),
        (b"strength: !!python/object/apply:os.getcwd []\n", "strength is an empty list"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Recipe.from_yaml(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe") as caught:
        Recipe.from_yaml(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


# Its digest


def digest(**fields: Any) -> str:
    return Recipe(**{"sampler": "ddim"} | fields).digest(
        model_digest="ab" * 32, noise_version="noise-1"
    )


def test_eta_belongs_to_ddim() -> None:
    assert Recipe(sampler="ddim", eta=1).eta == 1
    for sampler in ("ddpm", "dpmsolver++", "one-step"):
        with pytest.raises(ValueError, match="eta belongs to the sampler ddim"):
            Recipe(sampler=sampler, eta=0.1)


def test_every_field_is_placed() -> None:
    assert set(Recipe.model_fields) == CHANGES_AN_IMAGE.keys() | CHANGES_NO_IMAGE.keys()


@pytest.mark.parametrize("field", CHANGES_AN_IMAGE)
def test_digest_covers(field: str) -> None:
    needs = NEEDS.get(field, {})
    assert digest(**{field: CHANGES_AN_IMAGE[field]}, **needs) != digest(**needs)


@pytest.mark.parametrize("field", CHANGES_NO_IMAGE)
def test_digest_leaves_out(field: str) -> None:
    needs = NEEDS.get(field, {})
    given = {name: value for name, value in needs.items() if name in CHANGES_AN_IMAGE}
    assert digest(**{field: CHANGES_NO_IMAGE[field]}, **needs) == digest(**given)


def test_digest_covers_the_weights_and_the_noise() -> None:
    recipe = Recipe()
    digests = {
        recipe.digest("ab" * 32, "noise-1"),
        recipe.digest("cd" * 32, "noise-1"),
        recipe.digest("ab" * 32, "noise-2"),
    }
    assert len(digests) == 3
    assert all(len(found) == 64 and int(found, 16) for found in digests)


def test_digest_is_of_what_is_meant_not_of_how_it_was_written() -> None:
    assert digest(strength="0.20 : 0.6", steps="20") == digest(strength="0.2:0.6", steps=20)
    assert digest(strength=1) == digest(strength="1.0")
    assert digest(strength=[0.2, 0.4]) != digest(strength=[0.4, 0.2])


# The background


@pytest.mark.parametrize("said", ["white", "White ", "#fff", "#FFFFFF", "rgb(255, 255, 255)"])
def test_a_background_is_one_colour_however_it_is_spelled(said: str) -> None:
    assert Recipe(background=said).background == "#ffffff"
    assert digest(background=said) == digest(background="#ffffff")
    assert digest(background=said) != digest()


@pytest.mark.parametrize("said", ["witte", "", "#ffff", "#ff000080", "rgb(300, 0, 0)", "0"])
def test_a_background_is_an_opaque_colour(said: str) -> None:
    assert "must be an opaque colour such as white, black or #8080ff" in refusal(background=said)


def test_a_colour_that_yaml_takes_for_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 3\nbackground: #ff8000\n")
    with pytest.raises(ConfigError, match="background has no value, since # begins a comment"):
        Recipe.from_yaml(path)
    path.write_text("seed:  # 1234\nbackground: '#ff8000'\n")
    assert Recipe.from_yaml(path).background == "#ff8000"


@pytest.mark.parametrize("field", ["negative_prompt", "guidance_interval", "lora_scale"])
def test_what_would_do_nothing(field: str) -> None:
    assert f"{field} does nothing" in refusal(**{field: CHANGES_AN_IMAGE[field]})


# Judges and filters


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"judges": "fid"}, "there is no judge 'fid': phash, label=REFERENCE, clip=REFERENCE"),
        ({"judges": "label"}, "label requires a reference: write label=REFERENCE"),
        ({"judges": "clip="}, "clip requires a reference"),
        ({"judges": "phash=x"}, "phash takes no reference"),
        ({"judges": ["label=a", "label=b"]}, "label is given twice"),
        ({"filters": "ssim"}, "'ssim' is not a bound: write a score, one of < <= > >= == and a"),
        ({"filters": "ssim => 0.4"}, "is not a bound"),
        ({"filters": "ssim > high"}, "is not a bound"),
        ({"filters": "ssim > nan"}, "is not a bound"),
        ({"filters": "ssim > 0, psnr > 9"}, "is not a bound"),
        ({"filters": "fid < 3"}, "there is no score score_fid: the scores are score_ssim, "),
        (
            {"filters": "label == 1"},
            "no judge of the recipe computes score_label: add label=REFERENCE",
        ),
        (
            {"filters": "score_phash_source < 9"},
            "no judge of the recipe computes score_phash_source",
        ),
        ({"judges": "phash", "filters": "clip > 0"}, "add clip=REFERENCE"),
        ({"keep_best": 1, "copies": 2}, "keep_best and keep_best_by require each other"),
        ({"keep_best_by": "ssim", "copies": 2}, "keep_best and keep_best_by require each other"),
        ({"keep_best": 0, "keep_best_by": "ssim"}, "keep_best: "),
        ({"keep_best": 2, "keep_best_by": "ssim", "copies": 2}, "keep_best does nothing: 2 of 2"),
        ({"keep_best": 1, "keep_best_by": "clip", "copies": 2}, "add clip=REFERENCE"),
        ({"keep_best": 1, "keep_best_by": "- ssim -", "copies": 2}, "is not a score"),
        ({"keep_rejects": False}, "keep_rejects does nothing without filters or keep_best"),
        ({"layout": "rows"}, "layout: "),
        ({"layout": "paired", "carry": "aug0.png"}, "the member aug0.png has a name that paired"),
        ({"layout": "paired", "image_key": "aug12.jpg"}, "the member aug12.jpg has a name"),
    ],
)
def test_judges_and_filters_that_are_none(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**fields)


@pytest.mark.parametrize("spelt", ["ssim>=.4", " score_ssim >= 0.40 ", "score_ssim>=4e-1"])
def test_a_bound_is_what_is_meant_not_how_it_was_written(spelt: str) -> None:
    assert Recipe(filters=spelt).filters == ("score_ssim >= 0.4",)


def test_what_a_recipe_says_of_filters() -> None:
    recipe = Recipe(
        judges=["phash", "label = mine:classify"],
        filters=["label == 1", "psnr < inf"],
        copies=3,
        keep_best=2,
        keep_best_by="- phash_source",
    )
    assert recipe.judges == ("phash", "label=mine:classify")
    assert recipe.judge_names == ("phash", "label")
    assert recipe.filters == ("score_label == 1", "score_psnr < inf")
    assert recipe.keep_best_by == "-score_phash_source"
    assert recipe.turns_away
    assert not Recipe().turns_away
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_filters_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("filters:\n- ssim >= 0.4\n- psnr >= 9\nkeep_rejects: false\n")
    recipe = Recipe.from_yaml(path)
    assert recipe.filters == ("score_ssim >= 0.4", "score_psnr >= 9")
    assert recipe.keep_rejects is False


@pytest.mark.parametrize("spelt", [".mask.png", "Mask.PNG", " mask.png"])
def test_a_mask_key_is_a_member_s_name(spelt: str) -> None:
    assert Recipe(mask_key=spelt).mask_key == "mask.png"


def test_a_mask_is_no_image() -> None:
    recipe = Recipe(mask_key="png")
    assert Reading.of(recipe).image_keys[:2] == ("jpg", "jpeg")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert "is the only member that image_key names" in refusal(mask_key="png", image_key="png")


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_no_value_in_a_file_leaves_the_default(tmp_path: Path, nothing: str) -> None:
    fields = ("prompt", "lora", "mask_key", "autoencoder", "embeddings", "negative_prompt")
    text = "".join(f"{field}: {nothing}\n" for field in fields)
    (tmp_path / "recipe.yaml").write_text(text)
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == Recipe()


@pytest.mark.parametrize("field", ["lora", "autoencoder", "embeddings", "mask_key"])
def test_an_empty_name(field: str) -> None:
    assert field in refusal(**{field: ""})


@pytest.mark.parametrize("spelling", ["json", ".json", " JSON", ". Json ", "..json", "\t.JSON\n"])
def test_a_member_may_be_spelt_in_any_way(spelling: str) -> None:
    """As webdataset names it, whichever field names it and in whichever recipe."""
    recipe = Recipe(image_key=spelling, label_key=spelling, carry=spelling)
    assert (recipe.image_key, recipe.label_key, recipe.carry) == (("json",), "json", ("json",))
    assert Recipe(mask_key=spelling).mask_key == "json"
    assert Recipe(carry=[spelling, "txt"]).carry == ("json", "txt")
    trained = TrainRecipe(image_key=spelling, label_key=spelling)
    assert (trained.image_key, trained.label_key) == (("json",), "json")


@pytest.mark.parametrize("field", ["image_key", "label_key", "mask_key"])
@pytest.mark.parametrize("blank", ["", " ", ".", " . "])
def test_a_member_must_have_a_name(field: str, blank: str) -> None:
    with pytest.raises(ConfigError, match=field):
        Recipe.of({field: blank})


def test_the_images_read_by_default_in_the_first_version_are_today_s() -> None:
    """So that an output of that version can be finished."""
    first = "png,jpg,jpeg,webp,bmp,gif,tif,tiff,ppm,pgm"
    assert Recipe(image_key=first) == Recipe()
    assert Recipe().image_key[:10] == tuple(first.split(","))
    assert Recipe(image_key="jpg,png").image_key == ("jpg", "png")
    assert TrainRecipe.of({"image_key": first.split(",")}) == TrainRecipe()
