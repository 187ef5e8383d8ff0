"""What `RemoteAugmenter` is given, and which servers' recipes it takes, without any server."""

from __future__ import annotations

import pickle
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from diffaug import Augment, ConfigError, Recipe, RemoteAugmenter
from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.execution import versions
from diffaug.online.address import addresses
from diffaug.online.offer import Offer, Wanted
from diffaug.online.servers import Servers
from tests.support.loading import QUICK
from tests.support.serving import PATIENCE

URL = "http://127.0.0.1:8321"
SECRET = "hush-1234567890"


@pytest.mark.parametrize(
    ("urls", "options", "said"),
    [
        ("", {}, "urls: '' is not a server's address, such as http://host:8321"),
        ([], {}, "urls: give the address of a server"),
        (8321, {}, "urls: give the address of a server"),
        ([8321], {}, "an address must be a text, got int"),
        ("host:8321", {}, "'host:8321' is not a server's address"),
        ("ftp://host", {}, "'ftp://host' is not"),
        ("http://", {}, "'http://' is not"),
        ("http://host:port", {}, "'http://host:port' is not"),
        ("http://[::1", {}, "is not a server's address"),
        (f"http://user:{SECRET}@host:99999?a={SECRET}", {}, "'host:99999' is not"),
        (f"user:{SECRET}@host", {}, "'host' is not"),
        (f"http://user:1/{SECRET}@host", {}, "'host' is not"),
        (f"http://user:{SECRET}@host", {"token": SECRET}, "a request can carry only one of"),
        (URL, {"token": ""}, "token: it is empty"),
        (URL, {"token": f"{SECRET} {SECRET}"}, "there is a blank in it"),
        (URL, {"token": f"{SECRET}\n"}, "token: it must be letters, digits and signs of ASCII"),
        (URL, {"token": f"{SECRET}é"}, "token: it must be"),
        (URL, {"token": 12345}, "token: it must be"),
        (URL, {"in_flight": 0}, "in_flight must be a whole number, 1 or more, got 0"),
        (URL, {"in_flight": 1.5}, "in_flight must be"),
        (URL, {"patience": -1}, "patience must be 0 or more seconds, got -1"),
        (URL, {"patience": float("nan")}, "patience must be"),
        (URL, {"patience": "long"}, "patience must be"),
        (URL, {"fallback": "here"}, "fallback must be 'local' or None, got 'here'"),
    ],
)
def test_a_mistake_is_told_at_once(urls: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteAugmenter(urls, QUICK, **options)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_mask_cannot_be_sent() -> None:
    recipe = QUICK.model_copy(update={"mask_key": "mask.png"})
    for use in (lambda: RemoteAugmenter(URL, recipe), lambda: Augment(recipe, url=URL)):
        with pytest.raises(ConfigError, match="mask_key: a picture goes to a server alone"):
            use()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": SECRET}, "token: it is for a server: give its url too"),
        ({"url": URL, "cache": "folder"}, "cache: a server has its own"),
        ({"url": URL, "dtype": "float32"}, "dtype: a server has its own"),
        ({"url": URL, "device": "cpu"}, "device: a server has its own"),
    ],
)
def test_augment_is_here_or_on_a_server(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Augment(QUICK, **options)
    assert "hush" not in str(caught.value)


def test_a_token_and_a_password_are_shown_by_nothing() -> None:
    for stage in (
        RemoteAugmenter(URL, QUICK, SECRET),
        RemoteAugmenter(f"http://user:{SECRET}@host", QUICK),
        Augment(QUICK, url=URL, token=SECRET),
    ):
        twin = pickle.loads(pickle.dumps(stage))
        for one in (stage, twin):
            assert "hush" not in f"{one!r} {one} {vars(one)}"
        assert SECRET in pickle.dumps(twin).decode("latin-1")


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    said = r"augmenting by a server requires httpx: pip install 'diffaug\[remote\]'"
    for use in (lambda: RemoteAugmenter(URL, QUICK), lambda: Augment(QUICK, url=URL)):
        with pytest.raises(ConfigError, match=said):
            use()


@pytest.mark.parametrize("part", ["connection", "proxy", "socks"])
def test_a_connection_ends_with_its_pass(part: str) -> None:
    """Also one through a proxy, by the names that httpcore has for those."""
    servers = Servers(addresses(URL), None, 0, Wanted(QUICK, None))
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as ours,
        listening.accept()[0] as theirs,
    ):
        stream = SimpleNamespace(get_extra_info={"socket": ours}.get)
        servers._look_at(f"{part}.connect_tcp.complete", {"return_value": stream})
        servers.close()
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""


# --- a model that is not on this machine

HUB: dict[str, Any] = {"model": "org/name", "prompt": "a shoe", "seed": 3}
SERVED = Recipe(**HUB, strength=0.5, steps=7, sampler="ddim")
WEIGHTS = "ab" * 32


def offer(recipe: Recipe = SERVED, weights: str = WEIGHTS, **environment: Any) -> Offer:
    """What a server says of a recipe whose model suggests strength, steps and sampler."""
    execution = {"batch_size": 8, "dtype": "float32", "device": "cpu"}
    made = {"versions": versions(), "noise": NOISE_VERSION, "device_class": "cpu/avx2"}
    return Offer.model_validate(
        {
            "name": "default",
            "digest": recipe.digest(weights, NOISE_VERSION),
            "model": {"name": recipe.model, "revision": "c0ffee", "digest": weights},
            "recipe": recipe.model_dump(mode="json"),
            "environment": made | {"execution": execution} | environment,
        }
    )


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("org/name", "org/name"),
        ("org/name@c0ffee", "org/name"),
        ("org/name@main", "org/name@main"),
        ("org/name@c0ffee", "org/name@main"),
    ],
)
def test_what_the_card_suggests_is_left_to_the_servers(model: str, asked: str) -> None:
    """A reference without a commit is any commit."""
    served = offer(SERVED.model_copy(update={"model": asked}))
    recipe = Recipe(**HUB | {"model": model})
    assert Wanted(recipe, None).choose("A", [offer(SERVED, "cd" * 32), served]) is not None
    other = Recipe(**HUB | {"model": model}, steps=9)
    with pytest.raises(ConfigError, match=r"differs in steps \(7 there, 9 asked\)"):
        Wanted(other, None).choose("A", [served])


def test_of_several_recipes_the_closest_is_named() -> None:
    far = SERVED.model_copy(update={"seed": 5, "guidance": 3.0})
    near = offer(SERVED.model_copy(update={"seed": 4})).model_copy(update={"name": "near"})
    with pytest.raises(ConfigError, match=r"its recipe near differs in seed \(4 there, 3 asked\):"):
        Wanted(SERVED, None).choose("A", [offer(far), near])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (offer(SERVED.model_copy(update={"model": "org/name@b0b"})), None),
        (offer(weights="cd" * 32), "digest of recipe and weights"),
        (
            offer(execution={"batch_size": 4, "dtype": "bfloat16", "device": "cpu"}),
            r"batch size \(8 at A, 4 at B\), dtype \(float32 at A, bfloat16 at B\)",
        ),
        (offer(device_class="cuda/H100"), r"kind of device \(cpu/avx2 at A, cuda/H100 at B\)"),
        (offer(versions=versions() | {"torch": "1.0"}), r"torch \(\S+ at A, 1.0 at B\)"),
        (offer(versions=versions() | {"transformers": "1.0"}), "transformers"),
        (offer(versions=versions() | {"python": "3.0", "pyarrow": "1.0"}), None),
        (offer(execution={"batch_size": 8, "dtype": "float32", "device": "cuda:1"}), None),
    ],
)
def test_all_servers_are_like_the_first(other: Offer, said: str | None) -> None:
    """In whatever can change a pixel, of which Python's version is nothing."""
    wanted = Wanted(Recipe(**HUB), None)
    wanted.choose("A", [offer()])
    if said is None:
        assert wanted.choose("B", [other]) is other
        return
    with pytest.raises(ConfigError, match=said):
        wanted.choose("B", [other])


def test_of_clips_the_frames_that_are_taken_count_too() -> None:
    served = SERVED.model_copy(update={"medium": "clip", "noise_time": "shared"})
    asked = Recipe(**HUB, medium="clip")  # which share their noise unless they say otherwise
    assert Wanted(asked, None).choose("A", [offer(served)]).name
    for field, value in {"frames": 3, "fps": "5", "window": "0:1"}.items():
        other = Recipe(**HUB, medium="clip", **{field: value})
        with pytest.raises(ConfigError, match=rf"differs in {field} \(None there, {value} asked\)"):
            Wanted(other, None).choose("A", [offer(served)])
        fewer = served.model_copy(update={field: value})
        with pytest.raises(ConfigError, match=rf"differs in {field} \({value} there, None asked\)"):
            Wanted(asked, None).choose("A", [offer(fewer)])
    with pytest.raises(ConfigError, match=r"differs in .*medium \(clip there, None asked\)"):
        Wanted(Recipe(**HUB), None).choose("A", [offer(served)])
