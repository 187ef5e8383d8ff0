"""The list of known public models, and how `diffaug models` shows it."""

from __future__ import annotations

import re

import diffusers
import pytest

from diffaug.models.card import Card, known_cards, shipped_cards
from diffaug.models.hub import is_hub_name
from diffaug.recipe import Recipe
from tests.conftest import Cli

CARDS = known_cards()
FAMILIES = {
    "ConsistencyModelPipeline",
    "DDPMPipeline",
    "DiTPipeline",
    "FluxPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusion3Pipeline",
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
}


def test_every_family_is_there() -> None:
    assert {card.family for card in CARDS} == FAMILIES
    assert len({card.name for card in CARDS}) == len(CARDS)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_is_well_formed(card: Card) -> None:
    assert is_hub_name(card.name)
    assert hasattr(diffusers, card.family)
    assert card.revision is None or re.fullmatch("[0-9a-f]{40}", card.revision)
    assert card.licence
    assert re.fullmatch(r"\d+x\d+ (RGB|grey)", card.size)
    assert card.class_count in (0, 1000)
    assert card.gated in (True, False)
    assert not card.run_here
    assert "\n" not in card.note


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_suggestion_is_a_recipe_that_runs_the_network(card: Card) -> None:
    recipe = Recipe(model=card.name, **card.suggested)
    assert {"strength", "steps", "sampler"} <= set(card.suggested)
    low = float(str(recipe.strength).partition(":")[0])
    assert round(low * recipe.steps) >= 1 or recipe.sampler == "one-step"


def test_shipped_models_were_run() -> None:
    for card in shipped_cards():
        assert card.run_here
        assert card.family == ("LDMPipeline" if card.name == "clothes-128" else "DDPMPipeline")
        assert card.class_count == len(card.classes)


def test_all_are_shown(cli: Cli) -> None:
    said = cli("models")
    assert said.code == 0
    shipped, _, known = said.out.partition("Known public models")
    assert "fashion-mnist-32" in shipped
    for card in CARDS:
        assert card.name not in shipped
        name = f"{card.name}@{card.revision}" if card.revision else card.name
        assert known.splitlines().count(name) == 1
        assert card.licence in known
    assert known.count(", not run here") == len(CARDS)
    assert known.count(", gated") == sum(card.gated for card in CARDS)
    assert known.count(", not pinned") == sum(card.revision is None for card in CARDS)
