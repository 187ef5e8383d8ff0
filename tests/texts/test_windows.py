"""A long text as windows that overlap: every token is taken once, with others on both sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffaug.diffusion.masked import MaskedEdit, Mixing, Passage
from diffaug.models.masked import MaskedModel
from diffaug.texts.windows import passage, windows_of
from tests.support.language_models import SENTENCES, roberta
from tests.support.text_edits import language_model, random_of

MANY = " ".join(SENTENCES)


@given(st.integers(1, 3000), st.integers(4, 600))
def test_every_token_is_taken_once(count: int, most: int) -> None:
    windows = windows_of(count, most)
    taken = [place for _, _, first, last in windows for place in range(first, last)]
    assert taken == list(range(count))
    for begin, end, first, last in windows:
        assert 0 <= begin <= first < last <= end <= count
        assert end - begin == min(count, most)


@given(st.integers(1, 3000), st.integers(8, 600))
def test_neighbours_share_a_quarter_and_take_half_of_it(count: int, most: int) -> None:
    windows = windows_of(count, most)
    for (_, end, _, last), (begin, _, first, _) in itertools.pairwise(windows):
        assert end - begin >= most // 4
        assert last == first
        assert abs((end - last) - (first - begin)) <= 1


def test_by_hand() -> None:
    assert windows_of(8, 8) == [(0, 8, 0, 8)]
    assert windows_of(9, 8) == [(0, 8, 0, 4), (1, 9, 4, 9)]
    assert windows_of(20, 8) == [(0, 8, 0, 7), (6, 14, 7, 13), (12, 20, 13, 20)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MaskedModel:
    return language_model(roberta(tmp_path_factory.mktemp("roberta")))


def test_a_long_text_is_its_windows_side_by_side(model: MaskedModel) -> None:
    tokens = model.pieces.tokens(MANY)
    may_change = model.pieces.may_change(tokens)
    edit = passage(
        tokens.ids, may_change, model, random_of(1), Mixing(), strength=0.5, calls=5, label=None
    )
    assert len(edit.windows) > 2
    ((_, result),) = model.steps(4).run([("whole", edit)])
    assert result is not None
    assert len(result) == len(tokens)
    drawn = random_of(1).hiding(len(tokens))
    hidden = may_change & (drawn < 0.5)
    assert (result[~hidden] == tokens.ids[~hidden]).all()
    assert (result[hidden] != tokens.ids[hidden]).mean() > 0.5
    most = model.lengths[-1] - 3  # a sign on each side, and padding
    for window, (begin, end, first, last) in zip(
        edit.windows, windows_of(len(tokens), most), strict=True
    ):
        assert window.length == model.lengths[-1]
        assert window.tokens[1 : 1 + end - begin].tolist() == tokens.ids[begin:end].tolist()
        assert ((window.turns >= 0)[1 : 1 + end - begin] == hidden[begin:end]).all()
        assert (window.tokens[0], window.tokens[window.attended][-1]) == (0, 2)
        ((_, alone),) = model.steps(4).run([("", _only(window))])
        assert alone is not None
        assert result[first:last].tolist() == alone[1 + first - begin : 1 + last - begin].tolist()


def _only(window: MaskedEdit) -> Passage:
    """A passage that is one window, all of it taken."""
    whole = slice(0, window.length)
    return Passage(
        tokens=np.zeros(window.length, dtype=np.int64), windows=(window,), taken=((whole, whole),)
    )


def test_windows_in_which_nothing_is_hidden_are_left_out(model: MaskedModel) -> None:
    tokens = model.pieces.tokens(MANY)
    may_change = np.arange(len(tokens)) == len(tokens) - 2
    edit = passage(tokens.ids, may_change, model, random_of(0), Mixing(), 0.5, 5, None)
    assert len(edit.windows) == 1
    ((_, result),) = model.steps(4).run([("", edit)])
    assert result is not None
    assert np.flatnonzero(result != tokens.ids).tolist() in ([], [len(tokens) - 2])


@pytest.mark.parametrize("count", [1, 13, 14, 21, 22, 61])
def test_a_text_is_padded_to_the_next_length(model: MaskedModel, count: int) -> None:
    ids = np.full(count, 40)
    edit = passage(ids, ids > 0, model, random_of(0), Mixing(), 0.5, 5, None)
    (window,) = edit.windows
    wanted = min(one for one in (16, 24, 32, 48, 64) if one > count + 2)
    assert window.length == wanted
    assert window.attended.sum() == count + 2
    assert (window.tokens[count + 2 :] == 1).all()
