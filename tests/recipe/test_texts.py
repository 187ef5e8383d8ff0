"""The fields of texts: what they take and contradict; recipes of images know nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import diffaug
from diffaug.errors import ConfigError
from diffaug.recipe import Recipe
from diffaug.recipe.texts import TEXT_FIELDS
from diffaug.shards.reading import Reading

TEXT: dict[str, Any] = {"medium": "text", "sampler": "random"}

OF_PICTURES: dict[str, Any] = {
    "eta": 0.5,
    "to_class": "rarer",
    "prompt": "a {label}",
    "negative_prompt": "blurry",
    "guidance": 2.0,
    "guidance_interval": "0.2:0.8",
    "guidance_every": 2,
    "lora": "a/b@c",
    "lora_scale": 0.5,
    "autoencoder": "a/b@c",
    "embeddings": "a.safetensors",
    "mask_key": "mask.png",
    "result": "model",
    "detail": "none",
    "fit": "pad",
    "image_key": "png",
    "background": "red",
    "noise_time": "shared",
    "frames": 3,
    "fps": "5",
    "window": "0:1",
}
OF_TEXTS: dict[str, Any] = {
    "text_key": "json:body",
    "keep": "red",
    "temperature": 0.0,
    "top_p": 0.5,
    "long_text": "windows",
}


@pytest.mark.parametrize("field", OF_PICTURES)
def test_each_field_of_pictures_is_refused_by_name(field: str) -> None:
    given = TEXT | {field: OF_PICTURES[field]}
    with pytest.raises(ConfigError, match=f"{field} (does nothing to texts|belongs to)"):
        Recipe.of(given)


@pytest.mark.parametrize("medium", ["image", "clip"])
@pytest.mark.parametrize("field", OF_TEXTS)
def test_each_field_of_texts_is_refused_for_pictures(field: str, medium: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} is for texts, and these are {medium}s"):
        Recipe.of({"medium": medium, field: OF_TEXTS[field]})
    assert getattr(Recipe.of({field: OF_TEXTS[field]}), field) is not None  # not decided yet


def test_every_field_is_tried() -> None:
    assert set(OF_TEXTS) == set(TEXT_FIELDS)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            TEXT | {"sampler": "lcm"},
            "sampler=lcm is for images: of texts it is random or confident",
        ),
        ({"medium": "image", "sampler": "confident"}, "sampler=confident is for texts"),
        (TEXT | {"format": "png"}, "format=png is no format of texts"),
        ({"medium": "image", "format": "txt"}, "format=txt is for texts"),
        ({"medium": "clip", "format": "txt"}, "format=txt is for texts"),
        (TEXT | {"layout": "paired"}, "layout=paired is for images and clips"),
        (TEXT | {"temperature": -1}, "temperature"),
        (TEXT | {"top_p": 0}, "top_p"),
        (TEXT | {"top_p": 1.5}, "top_p"),
        (TEXT | {"long_text": "cut"}, "long_text"),
        (TEXT | {"keep": "red,,blue"}, "keep: there is an empty word"),
        (TEXT | {"keep": "/[a/"}, r"keep: /\[a/ is no regular expression"),
        (TEXT | {"text_key": "a,b"}, "text_key"),
        (TEXT | {"text_key": ""}, "text_key"),
        (TEXT | {"text_key": "json:"}, "text_key"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Recipe.of(fields)


@pytest.mark.parametrize(
    ("given", "keep"),
    [
        ("red", ("red",)),
        ("red, dark blue", ("red", "dark blue")),
        ("/a{1,2}/", ("/a{1,2}/",)),
        (("red", "/b,c/"), ("red", "/b,c/")),
        (["/", "//"], ("/", "//")),
        ((), ()),
        (None, None),
    ],
)
def test_words_to_keep(given: Any, keep: tuple[str, ...] | None) -> None:
    assert Recipe.of(TEXT | {"keep": given}).keep == keep


@pytest.mark.parametrize(
    ("key", "member", "field"),
    [
        (None, "txt", None),
        (".TXT ", "txt", None),
        ("text", "text", None),
        ("JSON:Body", "json", "Body"),
        ("meta.json:a: b", "meta.json", "a: b"),
    ],
)
def test_the_member_and_the_field(key: str | None, member: str, field: str | None) -> None:
    recipe = Recipe.of(TEXT | {"text_key": key})
    assert (recipe.text_member, recipe.text_field) == (member, field)
    reading = Reading.of(recipe)
    assert reading.image_keys == (member,)
    assert reading.is_sample([member])
    assert not reading.is_sample(["md"])
    assert Reading.of(Recipe()).image_keys == Recipe().image_key


def test_recipes_of_images_do_not_mention_texts() -> None:
    assert not {*TEXT_FIELDS, "medium"} & set(Recipe().model_dump(mode="json"))
    assert "keep:" not in Recipe().as_yaml()


def test_a_recipe_of_texts_is_read_back_from_yaml(tmp_path: Path) -> None:
    recipe = Recipe.of(TEXT | OF_TEXTS | {"keep": ["red", "/[a-c],?/"]})
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == recipe


def test_the_digest_covers_what_changes_texts() -> None:
    recipes = [
        Recipe.of(TEXT | more)
        for more in (
            {},
            {"sampler": "confident"},
            {"temperature": 0.5},
            {"top_p": 0.5},
            {"keep": "red"},
            {"text_key": "json:a"},
            {"long_text": "refuse"},
        )
    ]
    digests = [recipe.digest("model", "noise") for recipe in recipes]
    assert len(set(digests)) == len(digests)
    assert Recipe.of(TEXT | {"format": "txt"}).digest("model", "noise") == digests[0]
    assert Recipe.of(TEXT | {"copies": 5}).digest("model", "noise") == digests[0]


@pytest.mark.parametrize("format", ["auto", "txt"])
def test_texts_are_stored_as_txt(format: str) -> None:
    assert diffaug.Recipe.of(TEXT | {"format": format}).format_for(jpeg=False) == "txt"
