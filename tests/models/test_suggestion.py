"""What a card suggests, where a recipe leaves it open: strength, steps and sampler, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from diffaug import ConfigError, Recipe
from diffaug.models import (
    Checkpoint,
    find_checkpoint,
    known_cards,
    shipped_cards,
    suggestion_for,
    with_suggestions,
)

DEFAULTS = {"strength": 0.4, "steps": 20, "sampler": "dpmsolver++"}
CARD = {"strength": "0.2:0.3", "steps": 7, "sampler": "ddim"}
USERS = {"strength": 0.8, "steps": 3, "sampler": "one-step"}


def checkpoint(folder: Path, suggested: Any, reference: str = "", hub: bool = False) -> Checkpoint:
    """A checkpoint of which nothing is there but its card."""
    front = yaml.safe_dump({"diffaug": {"name": "mine", "suggested": suggested}})
    (folder / "README.md").write_text(f"---\n{front}---\n\n# mine\n")
    return Checkpoint(reference or str(folder), folder, "c" * 40 if hub else None, files=())


def chosen(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in DEFAULTS}


@pytest.mark.parametrize("field", DEFAULTS)
def test_each_field_is_taken_by_itself(field: str, tmp_path: Path) -> None:
    only = {field: CARD[field]}
    found = with_suggestions(Recipe(), checkpoint(tmp_path, only))
    assert chosen(found) == DEFAULTS | only
    assert str(suggestion_for(Recipe(), checkpoint(tmp_path, only))) == (
        f"{field} {CARD[field]}: suggested by the card of {tmp_path}"
    )


@pytest.mark.parametrize("field", DEFAULTS)
def test_what_the_user_sets_counts_before_the_card(field: str, tmp_path: Path) -> None:
    own = {field: USERS[field]}
    found = with_suggestions(Recipe.of(own), checkpoint(tmp_path, CARD))
    assert chosen(found) == CARD | own


@pytest.mark.parametrize("field", DEFAULTS)
def test_a_default_that_the_user_sets_is_the_users(field: str, tmp_path: Path) -> None:
    own = {field: DEFAULTS[field]}
    assert Recipe.of(own) == Recipe()
    assert chosen(with_suggestions(Recipe.of(own), checkpoint(tmp_path, CARD))) == CARD | own


@pytest.mark.parametrize("suggested", [None, {}, {"condition": "label", "guidance": 3}])
def test_without_a_suggestion_the_defaults_count(suggested: Any, tmp_path: Path) -> None:
    given = Recipe(seed=5)
    assert with_suggestions(given, checkpoint(tmp_path, suggested)) == given
    assert not suggestion_for(given, checkpoint(tmp_path, suggested))
    (tmp_path / "README.md").unlink()
    assert with_suggestions(given, Checkpoint(str(tmp_path), tmp_path, None, files=())) == given


def test_condition_and_guidance_are_never_taken(tmp_path: Path) -> None:
    found = with_suggestions(
        Recipe(), checkpoint(tmp_path, CARD | {"condition": "label", "guidance": 3})
    )
    assert (found.condition, found.guidance) == ("none", 1.0)
    assert chosen(found) == CARD


def test_a_list_of_strengths_is_taken_as_one(tmp_path: Path) -> None:
    found = suggestion_for(Recipe(), checkpoint(tmp_path, {"strength": [0.2, 0.4]}))
    assert found.fields == {"strength": (0.2, 0.4)}
    assert str(found).startswith("strength 0.2,0.4: suggested by")


def test_a_resolved_recipe_stays_as_it_is_and_needs_no_model(tmp_path: Path) -> None:
    found = with_suggestions(Recipe(), checkpoint(tmp_path, CARD))
    assert found.model_fields_set >= DEFAULTS.keys()
    assert with_suggestions(found.model_copy(update={"model": "nowhere"})).steps == CARD["steps"]
    assert with_suggestions(found, checkpoint(tmp_path, {"steps": 999})) is found
    again = Recipe.model_validate_json(found.model_dump_json())
    assert with_suggestions(again, checkpoint(tmp_path, {"steps": 999})) is again


def test_its_digest_is_that_of_the_values_set_by_hand(tmp_path: Path) -> None:
    found = with_suggestions(Recipe(seed=5), checkpoint(tmp_path, CARD))
    assert found.digest("m", "n") == Recipe.of({"seed": 5, **CARD}).digest("m", "n")
    assert found.digest("m", "n") != Recipe(seed=5).digest("m", "n")


@pytest.mark.parametrize(
    ("suggested", "says"),
    [
        ({"strength": 3}, r"strength must be in \(0, 1\], got 3"),
        ({"strength": "0.6:0.2"}, "strength range '0.6:0.2' is reversed"),
        ({"strength": None}, "strength must be a number"),
        ({"steps": 0}, "steps: "),
        ({"sampler": "euler"}, "sampler: "),
        ([0.4, 20], r"suggested must be a mapping of fields, such as steps: 20, got \[0.4, 20\]"),
    ],
)
def test_a_wrong_card_is_named_with_its_field(suggested: Any, says: str, tmp_path: Path) -> None:
    found = checkpoint(tmp_path, suggested)
    with pytest.raises(ConfigError, match=f"the card of {tmp_path}.*: {says}"):
        with_suggestions(Recipe(), found)
    assert chosen(with_suggestions(Recipe.of(USERS), found)) == USERS


@pytest.mark.parametrize("card", known_cards(), ids=lambda card: card.name)
def test_the_list_of_public_models_stands_in_for_their_cards(card: Any, tmp_path: Path) -> None:
    found = suggestion_for(Recipe(), checkpoint(tmp_path, None, card.name, hub=True))
    assert found.fields == {name: card.suggested[name] for name in DEFAULTS}
    assert found.origin == f"diffaug's list of public models for {card.name}"


def test_a_public_models_own_card_counts_before_the_list(tmp_path: Path) -> None:
    name = known_cards()[0].name
    found = suggestion_for(Recipe(), checkpoint(tmp_path, {"steps": 9}, name, hub=True))
    assert (found.fields, found.origin) == ({"steps": 9}, f"the card of {name}")
    assert not suggestion_for(Recipe(), checkpoint(tmp_path, None, name))


@pytest.mark.parametrize("card", shipped_cards(), ids=lambda card: card.name)
def test_a_shipped_model_is_run_as_its_card_suggests(card: Any) -> None:
    found = with_suggestions(Recipe(model=card.name))
    assert chosen(found) == {name: card.suggested[name] for name in DEFAULTS}
    assert suggestion_for(Recipe(), find_checkpoint(card.name)).origin == f"the card of {card.name}"
