"""Randomness: pinned values, Philox written out again, and independence of streams."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from diffaug.diffusion.noise import NOISE_VERSION, SampleRandom

BASE = SampleRandom(seed=0, pixel_sha256="00" * 32, copy=0)
OTHER = SampleRandom(seed=2**62 + 7, pixel_sha256="c0ffee" * 10 + "c0de", copy=3)
MASK = 2**64 - 1


def philox_4x64_10(counter: list[int], key: list[int]) -> list[int]:
    """Salmon et al. 2011, in plain integers: ten rounds over one block of four words."""
    for _ in range(10):
        high_0, low_0 = divmod(counter[0] * 0xD2E7470EE14C6C93, 2**64)
        high_1, low_1 = divmod(counter[2] * 0xCA5A826395121157, 2**64)
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0]
        key = [(key[0] + 0x9E3779B97F4A7C15) & MASK, (key[1] + 0xBB67AE8584CAA73B) & MASK]
    return counter


@pytest.mark.parametrize("stream", [BASE, OTHER])
@pytest.mark.parametrize("draw", [0, 1, 1000])
def test_bits_are_philox_keyed_by_identity(stream: SampleRandom, draw: int) -> None:
    """A uniform value is the upper 53 bits of the first word after counter (0, 0, draw, 1)."""
    identity = f"{NOISE_VERSION}|{stream.seed}|{stream.pixel_sha256}|{stream.copy}".encode()
    digest = hashlib.sha256(identity).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    word = philox_4x64_10([1, 0, draw, 1], key)[0]
    assert stream.uniform(draw) == (word >> 11) / 2**53


def test_first_values_are_pinned() -> None:
    """If this fails, every image comes out otherwise: NOISE_VERSION must change with it."""
    assert NOISE_VERSION == "philox4x64-ziggurat-1"
    assert BASE.normal((4,)).tolist() == [
        -0.6565250754356384,
        0.3433811664581299,
        -0.315868616104126,
        0.22545501589775085,
    ]
    assert BASE.normal((2, 2), draw=1).ravel().tolist() == [
        -0.7217479944229126,
        -0.0681966096162796,
        -0.5588180422782898,
        1.3497928380966187,
    ]
    assert BASE.uniform() == 0.7711972818510477
    assert OTHER.normal((3,)).tolist() == [
        1.535024642944336,
        -1.1334993839263916,
        -0.4832440912723541,
    ]
    assert OTHER.uniform(draw=5) == 0.5421215789714171


def test_first_values_of_texts_are_pinned() -> None:
    """As above; each kind is a stream of its own, which the others do not move."""
    assert BASE.hiding(3).tolist() == [0.49966381474326604, 0.4696131430856384, 0.7912333874742367]
    assert BASE.turns(3).tolist() == [0.7580550533332668, 0.9928338228661046, 0.5092397427477385]
    assert BASE.waiting(3, call=0, place=0).tolist() == [
        0.6691223129390418,
        0.2706805886337389,
        1.6869809156295001,
    ]
    assert OTHER.waiting(2, call=5, place=700).tolist() == [0.4482900051315345, 0.42758428649253954]


def test_when_a_token_is_hidden_and_comes_back_is_the_same_in_any_longer_text() -> None:
    """The words of Philox in a row: counter (1, 0, 0, 4) and on for hiding, 5 for turns."""
    digest = hashlib.sha256(f"{NOISE_VERSION}|0|{'00' * 32}|0".encode()).digest()
    key = [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]
    for kind, found in ((4, BASE.hiding(7)), (5, BASE.turns(7))):
        words = [word for block in (1, 2) for word in philox_4x64_10([block, 0, 0, kind], key)]
        assert found.tolist() == [(word >> 11) / 2**53 for word in words[:7]]
    assert BASE.hiding(3).tolist() == BASE.hiding(7)[:3].tolist()


def test_waits_of_places_and_calls_are_independent_and_exponential() -> None:
    streams = [BASE.waiting(10_000, call, place) for call in range(3) for place in range(3)]
    for one, other in itertools.combinations(streams, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
    assert np.mean(streams) == pytest.approx(1, abs=0.02)
    assert (np.stack(streams) > 2).mean() == pytest.approx(np.exp(-2), abs=0.005)


def test_normal_values_are_standard_float32() -> None:
    values = BASE.normal((3, 200, 200))
    assert values.dtype == np.float32
    assert values.shape == (3, 200, 200)
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1, abs=0.02)
    assert (np.abs(values) < 1).mean() == pytest.approx(0.6827, abs=0.005)
    assert (np.abs(values) > 3).mean() == pytest.approx(0.0027, abs=0.0005)


def test_uniform_values_fill_the_unit_interval() -> None:
    values = np.array([replace(BASE, copy=copy).uniform() for copy in range(2000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, bins=10, range=(0, 1))[0].min() > 140


def test_streams_are_independent() -> None:
    """Another seed, picture, copy or draw: none correlates with another (|r| < 5 sigma)."""
    streams = [
        BASE.normal((10_000,)),
        BASE.normal((10_000,), draw=1),
        BASE.normal((10_000,), draw=2),
        replace(BASE, seed=1).normal((10_000,)),
        replace(BASE, copy=1).normal((10_000,)),
        replace(BASE, copy=10).normal((10_000,)),
        replace(BASE, seed=1, copy=0).normal((10_000,), draw=1),
        replace(BASE, pixel_sha256="01" + "00" * 31).normal((10_000,)),
    ]
    for one, other in itertools.combinations(streams, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_whether_a_copy_is_made_is_a_draw_of_its_own() -> None:
    """The first word after counter (0, 0, 0, 2): it moves no other draw, and follows none."""
    key = hashlib.sha256(f"{NOISE_VERSION}|0|{'00' * 32}|0".encode()).digest()
    words = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")]
    assert BASE.chance() == (philox_4x64_10([1, 0, 0, 2], words)[0] >> 11) / 2**53
    copies = [replace(BASE, copy=copy) for copy in range(2000)]
    chances = np.array([stream.chance() for stream in copies])
    assert np.histogram(chances, bins=10, range=(0, 1))[0].min() > 140
    assert abs(np.corrcoef(chances, [stream.uniform() for stream in copies])[0, 1]) < 0.1


def test_identity_is_unambiguous() -> None:
    """Seed 1, copy 11 is not seed 11, copy 1."""
    one, other = replace(BASE, seed=1, copy=11), replace(BASE, seed=11, copy=1)
    assert one.uniform() != other.uniform()


def test_order_of_calls_changes_nothing() -> None:
    once = SampleRandom(0, "ab" * 32, 0)
    forwards = [once.normal((5,)), once.normal((5,), draw=1)]
    uniform = once.uniform()
    again = SampleRandom(0, "ab" * 32, 0)
    assert again.uniform() == uniform
    again.normal((100,))
    backwards = [again.normal((5,), draw=1), again.normal((5,))]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert np.array_equal(one, other)


def test_global_seeds_do_not_reach_it() -> None:
    np.random.seed(1)
    one = BASE.normal((5,))
    np.random.seed(2)
    assert np.array_equal(one, BASE.normal((5,)))
