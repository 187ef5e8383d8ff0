"""Strengths: what a recipe takes for one, what it refuses, and which each copy gets."""

from __future__ import annotations

from typing import Any

import pytest

from diffaug import Recipe
from tests.recipe.test_recipe import refusal


@pytest.mark.parametrize("strength", [0, -0.1, 1.5, float("nan"), float("inf"), "0", "1.01"])
def test_a_strength_out_of_bounds(strength: Any) -> None:
    said = refusal(strength=strength)
    assert f"strength must be in (0, 1], got {float(strength):g}: 0 would change nothing" in said


@pytest.mark.parametrize("strength", ["high", "", None, {}, "0.2,", "a:b", "0.2:", [None], [[0.2]]])
def test_a_strength_that_is_no_number(strength: Any) -> None:
    assert "strength must be a number in (0, 1], a list of them, or lo:hi" in refusal(
        strength=strength
    )


@pytest.mark.parametrize("strength", [[0.2, 0], "0.2,7", "0:0.5", "0.5:1.2", (1, 2)])
def test_every_strength_of_several_is_checked(strength: Any) -> None:
    assert "strength must be in (0, 1]" in refusal(strength=strength)


def test_a_range_that_runs_backwards() -> None:
    said = refusal(strength="0.6:0.2")
    assert "strength range '0.6:0.2' is reversed: write 0.2:0.6" in said


@pytest.mark.parametrize("strength", [[], ()])
def test_an_empty_list_of_strengths(strength: Any) -> None:
    assert "strength is an empty list: give at least one number" in refusal(strength=strength)


@pytest.mark.parametrize(
    ("given_as", "taken_as"),
    [
        ("0.2,0.4", (0.2, 0.4)),
        (" 0.2 , 0.4 ", (0.2, 0.4)),
        ("[0.2, 0.4]", (0.2, 0.4)),
        ([0.2, "0.4"], (0.2, 0.4)),
        ("0.2:0.6", "0.2:0.6"),
        (" .2 : .60", "0.2:0.6"),
        ("0.4", 0.4),
        (1, 1.0),
    ],
)
def test_strengths_as_a_command_line_gives_them(given_as: Any, taken_as: Any) -> None:
    assert Recipe(strength=given_as).strength == taken_as


def test_a_list_of_strengths_is_cycled_over_copies() -> None:
    recipe = Recipe(strength=[0.2, 0.4, 0.6])
    assert [recipe.strength_of(copy, 0.5) for copy in range(5)] == [0.2, 0.4, 0.6, 0.2, 0.4]
    assert not recipe.draws_strength


def test_a_range_of_strengths_is_drawn_from() -> None:
    recipe = Recipe(strength="0.2:0.6")
    drawn = [recipe.strength_of(0, u) for u in (0.0, 0.25, 0.5, 1.0)]
    assert drawn == pytest.approx([0.2, 0.3, 0.4, 0.6])
    assert recipe.draws_strength


def test_one_strength_is_for_all() -> None:
    recipe = Recipe(strength=0.3)
    assert {recipe.strength_of(copy, copy / 9) for copy in range(9)} == {0.3}
    assert not recipe.draws_strength
