"""Flags made from the fields of a recipe: which there are, and what the help says of them."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from diffaug.cli.app import app
from diffaug.cli.flags import Flags
from diffaug.evaluation.settings import Evaluation
from diffaug.recipe import Recipe
from diffaug.recipe.fields import Fields
from diffaug.train.recipe import TrainRecipe
from tests.conftest import Cli


class Some(Flags, of=Recipe, only=["judges", "copies"], defaults=Recipe(copies=3)):
    """Two of a recipe's flags."""


@pytest.mark.parametrize(
    ("command", "fields"), [("augment", Recipe), ("train", TrainRecipe), ("evaluate", Evaluation)]
)
def test_every_field_is_a_flag_with_its_description_and_default(
    command: str, fields: type[Fields], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_console", Console(width=1000))  # or lines break
    lines = {
        name: text.strip()
        for line in cli(command, "--help").out.splitlines()
        for name, text in re.findall(r"^│ --([\w-]+) [A-Z]*(?:\.\.\.)? +(.*?) *│$", line)
    }
    for name, info in fields.model_fields.items():
        text = lines[name.replace("_", "-")]
        assert info.description
        assert text.startswith(info.description)
        default = info.default
        if isinstance(default, (int, float, str)) and default != "":
            card = "the model card's suggestion, else " if name in fields.suggested else ""
            assert text.endswith(f"[default: {card}{default}]")


def test_a_flag_not_given_is_no_field() -> None:
    assert Some().given() == {}
    assert Some(copies="2").given() == {"copies": "2"}
    assert Some(judges=["phash"]).given() == {"judges": ["phash"]}


def test_only_the_fields_named_are_flags() -> None:
    with pytest.raises(TypeError, match="strength"):
        Some(strength="0.4")


def test_the_help_shows_the_defaults_of_another_recipe() -> None:
    help = Some.__annotations__["copies"].__metadata__[0].help
    assert help == f"{Recipe.model_fields['copies'].description} [default: 3]"


def test_a_list_is_given_by_its_flag_several_times(cli: Cli) -> None:
    said = cli("augment", "a", "b", "--filters", "ssim > 0.2", "--filters", "clip > 3")
    said.assert_mistake("filters: no judge of the recipe computes score_clip")
    said = cli("augment", "a", "b", "--carry", "txt", "--carry", "json")
    said.assert_mistake("Parameter --carry specified multiple times")


def test_a_score_may_begin_with_a_hyphen_and_no_other_text(cli: Cli) -> None:
    said = cli("augment", "a", "b", "--keep-best-by", "-score_psnr")
    said.assert_mistake("keep_best and keep_best_by")
    said = cli("augment", "a", "b", "--strength", "--steps", "3")
    said.assert_mistake("--strength requires an argument")
