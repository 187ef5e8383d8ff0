"""Masked diffusion: which tokens are hidden, when they come back, and what is drawn for them."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.masked import Masked, MaskedEdit, Mixing, Passage, hide, turns
from tests.support.jobs import threads
from tests.support.text_edits import MASK, constant, edit_of, random_of, run_alone, toy

EVERY = np.ones(4000, dtype=np.bool_)
LOGITS = (0.0, 1.0, -1.0, 2.0, 0.5, -3.0)


@pytest.mark.parametrize("strength", [0.05, 0.5, 0.93])
def test_each_token_is_hidden_with_the_probability_of_the_time(strength: float) -> None:
    shares = np.stack([hide(random_of(text), strength, EVERY) for text in range(20)]).mean()
    sigma = np.sqrt(strength * (1 - strength) / (20 * len(EVERY)))
    assert abs(shares - strength) < 4 * sigma


def test_all_are_hidden_at_the_end_of_time() -> None:
    assert hide(random_of(0), 1.0, EVERY).all()


@pytest.mark.parametrize("text", range(20))
def test_one_token_at_least_is_hidden_and_none_that_may_not_change(text: int) -> None:
    may_change = np.random.default_rng(text).random(12) < 0.3
    may_change[text % 12] = True
    assert (hide(random_of(text), 1e-9, may_change) & may_change).sum() == 1
    for strength in (1e-9, 0.5, 1.0):
        assert not (hide(random_of(text), strength, may_change) & ~may_change).any()


@given(st.floats(1e-9, 1), st.floats(1e-9, 1), st.integers(0, 1000))
def test_a_higher_strength_hides_the_same_tokens_and_more(
    one: float, other: float, text: int
) -> None:
    fewer, more = (hide(random_of(text), s, EVERY[:20]) for s in sorted((one, other)))
    assert not (fewer & ~more).any()


def test_turns_are_uniform_and_of_all_hidden_tokens_alone() -> None:
    hidden = hide(random_of(1), 0.5, EVERY)
    found = turns(random_of(1), hidden, 10, confident=False)
    assert (found[~hidden] == -1).all()
    assert chisquare(np.bincount(found[hidden], minlength=10)).pvalue > 1e-3
    assert abs(np.corrcoef(found[hidden], np.flatnonzero(hidden))[0, 1]) < 0.1


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 60), st.booleans())
def test_no_call_is_without_a_token(text: int, count: int, calls: int, confident: bool) -> None:
    hidden = hide(random_of(text), 0.5, EVERY[:count])
    found = turns(random_of(text), hidden, calls, confident)[hidden]
    assert set(found) == set(range(found.max() + 1))
    assert found.max() < min(calls, hidden.sum())
    if confident:  # shares that differ by one at most, and as many calls as there can be
        shares = np.bincount(found)
        assert shares.max() - shares.min() <= 1
        assert len(shares) == min(calls, hidden.sum())


def test_leaving_out_calls_keeps_the_order_of_turns() -> None:
    hidden = EVERY[:6]
    found = turns(random_of(3), hidden, 1000, confident=False)
    assert found.argsort().tolist() == random_of(3).turns(6).argsort().tolist()
    assert sorted(found) == list(range(6))


def all_hidden(length: int, mixing: Mixing) -> MaskedEdit:
    """An edit that hides every token and commits all at one call."""
    return MaskedEdit(
        tokens=np.zeros(length, dtype=np.int64),
        attended=np.ones(length, dtype=np.bool_),
        turns=np.zeros(length, dtype=np.int64),
        places=np.arange(length),
        calls=1,
        random=random_of(0),
        mixing=mixing,
    )


def drawn(mixing: Mixing) -> NDArray[np.int64]:
    """How often each word is drawn, of 6,000 times."""
    found = run_alone(constant(LOGITS), all_hidden(6000, mixing))
    return np.bincount(found, minlength=len(LOGITS) + 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax(temperature: float) -> None:
    *found, of_mask = drawn(Mixing(temperature=temperature))
    wanted = np.exp(np.array(LOGITS) / temperature)
    assert of_mask == 0
    assert chisquare(found, 6000 * wanted / wanted.sum()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, [3]), (0.75, [3, 1]), (0.88, [3, 1, 4]), (0.999999, [3, 1, 4, 0, 2, 5])],
)
def test_only_the_nucleus_is_drawn_from(top_p: float, kept: list[int]) -> None:
    """Of the falling probabilities .56, .21, .13, .08, .03 and .004."""
    found = drawn(Mixing(top_p=top_p))
    assert set(np.flatnonzero(found)) == set(kept)
    if len(kept) > 1:
        wanted = np.exp(np.array(LOGITS)[kept])
        assert chisquare(found[kept], 6000 * wanted / wanted.sum()).pvalue > 1e-3


def test_the_nucleus_is_of_the_tempered_distribution() -> None:
    assert np.flatnonzero(drawn(Mixing(temperature=0.1, top_p=0.75))).tolist() == [3]
    assert len(np.flatnonzero(drawn(Mixing(temperature=10, top_p=0.75)))) == 5


@pytest.mark.parametrize("top_p", [0.2, 1.0])
def test_without_temperature_the_likeliest_token_is_taken(top_p: float) -> None:
    assert drawn(Mixing(temperature=0, top_p=top_p))[3] == 6000


def test_each_place_and_call_draws_anew() -> None:
    """No two of them draw the same numbers: one call for all tokens, and one for each."""
    together = all_hidden(200, Mixing())
    one_by_one = MaskedEdit(
        tokens=together.tokens,
        attended=together.attended,
        turns=np.arange(200),
        places=together.places,
        calls=200,
        random=together.random,
        mixing=together.mixing,
    )
    first, second = (run_alone(constant(LOGITS), one) for one in (together, one_by_one))
    chances = np.exp(LOGITS) / np.exp(LOGITS).sum()
    for one, other in ((first, second), (first[:-1], first[1:]), (second[:-1], second[1:])):
        assert abs((one == other).mean() - (chances**2).sum()) < 0.15


def by_hand(edit: MaskedEdit) -> NDArray[np.int64]:
    """What the toy makes of an edit, in plain Python."""
    words = {place: int(token) for place, token in enumerate(edit.tokens)}
    hidden = {place: int(turn) for place, turn in enumerate(edit.turns) if turn >= 0}
    shares = Counter(hidden.values())
    for call in range(edit.calls):
        whole = sum(
            (place + 1) * word
            for place, word in words.items()
            if place not in hidden and edit.attended[place]
        )
        found: dict[int, tuple[int, float]] = {}
        for place, turn in hidden.items():
            if not edit.mixing.confident and turn != call:
                continue
            logits = {
                word: ((whole + 7 * place) * (2 * word + 3) % 31) / 4 for word in range(1, MASK)
            }
            waited = edit.random.waiting(MASK + 1, call, place)
            word = max(logits, key=lambda word: logits[word] - np.log(waited[word]))
            chance = np.exp(logits[word]) / np.sum(np.exp([*logits.values()]))
            found[place] = word, float(chance)
        order = sorted(found, key=lambda place: (-round(found[place][1], 6), place))
        for place in order[: shares[call]]:
            words[place] = found[place][0]
            del hidden[place]
    return np.array([words[place] for place in range(len(words))])


@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("number", range(4))
def test_a_text_is_what_a_loop_by_hand_makes_of_it(number: int, confident: bool) -> None:
    edit = edit_of(number, mixing=Mixing(confident=confident))
    found = run_alone(toy(), edit)
    assert found.tolist() == by_hand(edit).tolist()
    kept = edit.turns < 0
    assert (found[kept] == edit.tokens[kept]).all()
    assert not np.isin(found[~kept], [0, MASK]).any()


@pytest.mark.parametrize("count", [1, 2])
def test_lanes_and_neighbours_change_no_token(count: int) -> None:
    edits = [edit_of(n, calls=1 + n % 5, mixing=Mixing(confident=n % 2 == 0)) for n in range(9)]
    with threads(count):
        lanes = Lanes[int](Masked(toy(), 2, 16))
        waiting, found = list(enumerate(edits)), {}
        while waiting or lanes.free < lanes.count:
            lanes.enter([waiting.pop() for _ in range(min(lanes.free, len(waiting)))])
            for number, arrival in lanes.step():
                found[number] = arrival.numpy()
    for number, edit in enumerate(edits):
        assert found[number].tolist() == by_hand(edit).tolist()


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(0, 10))
def test_the_windows_of_a_text_are_joined(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cuts = [0, *sorted({int(cut) for cut in random.integers(0, count + 1, 3)} - {0, count}), count]
    edit = edit_of(0)
    taken = tuple((slice(1, 1 + b - a), slice(a, b)) for a, b in itertools.pairwise(cuts))
    passage = Passage(tokens=np.full(count, -1), windows=(edit,) * len(taken), taken=taken)
    parts = [np.arange(a - 1, a - 1 + 40) for a in cuts[:-1]]
    assert passage.joined(parts).tolist() == list(range(count))
    assert (passage.calls, passage.rows) == (edit.calls, len(taken) * edit.calls)
