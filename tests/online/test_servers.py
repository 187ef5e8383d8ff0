"""Servers that die, refuse, tear their answers or are others than before: no sample is lost."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from diffaug import Augmenter, ConfigError, DefectError, RemoteAugmenter
from diffaug.online.servers import UnansweredError
from tests.support.faulty import Fault, Faulty, faulty, refusal
from tests.support.forks import Forks
from tests.support.jobs import BATCH
from tests.support.loading import QUICK, samples
from tests.support.services import free_ports
from tests.support.serving import PATIENCE, Server, recipe_file, serving

pytestmark = pytest.mark.services

COUNT = 40
TOKEN = "of-the-tests-1234567890"
AUGMENT, RECIPES = "/v1/augment", "/v1/recipes"
FAR = "3600"
"""Seconds, as a header: longer than any test."""


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    folder = tmp_path_factory.mktemp("recipe")
    fields = QUICK.model_dump(exclude_unset=True)
    return ["--recipe", recipe_file(folder, "quick", **fields), "--max-body", "60000"]


@pytest.fixture(scope="module")
def server(forked: Forks, flags: list[str | Path]) -> Iterator[Server]:
    with serving(forked, *flags) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Faulty]:
    with faulty(server.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def made() -> list[tuple[str, bytes]]:
    """What an `Augmenter` makes of the samples."""
    return contents(Augmenter(QUICK, batch_size=BATCH)(samples(COUNT)))


def contents(stream: Any) -> list[tuple[str, bytes]]:
    return [(sample["__key__"], sample["png"].tobytes()) for sample in stream]


def test_a_server_killed_in_the_middle_loses_nothing(
    server: Server,
    forked: Forks,
    flags: list[str | Path],
    made: list[tuple[str, bytes]],
    tmp_path: Path,
) -> None:
    """Nor is anything doubled, and the order stays; each of the two has made some before."""
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    guarded = (*flags, "--tokens", tmp_path / "tokens")
    with serving(forked, *guarded, token=TOKEN) as other:
        for token in (None, "another-1234567890"):
            with pytest.raises(ConfigError, match="does not let this client in") as refused:
                list(RemoteAugmenter(other.url, QUICK, token)(samples(1)))
            assert token is None or token not in str(refused.value)
        before = [one.count("diffaug_rows_total") for one in (server, other)]
        stage = RemoteAugmenter([server.url, other.url], QUICK, TOKEN, in_flight=6)
        stream = stage(samples(COUNT))
        found = [next(stream) for _ in range(COUNT // 2)]
        after = [one.count("diffaug_rows_total") for one in (server, other)]
        other.process.kill()
        found += stream
    assert contents(found) == made
    assert all(now > then for now, then in zip(after, before, strict=True))


def torn(answer: httpx.Response) -> httpx.Response:
    """One bit of the picture is another."""
    data = bytearray(answer.content)
    data[len(data) // 2] ^= 1
    return httpx.Response(200, headers=answer.headers, content=bytes(data))


def elsewhere(answer: httpx.Response) -> httpx.Response:
    """The row says that another version made it."""
    row = json.loads(answer.headers["diffaug-row"]) | {"torch_version": "1.0"}
    return httpx.Response(200, headers={"Diffaug-Row": json.dumps(row)}, content=answer.content)


@pytest.mark.parametrize(
    ("fault", "is_away"),
    [
        ("drop", True),
        ("cut", True),
        (torn, True),
        (elsewhere, True),
        (refusal(503, Retry_After="1"), True),
        (refusal(502), True),
        (refusal(429, Retry_After="0"), False),
        (refusal(408), False),
    ],
)
def test_what_goes_wrong_once_is_asked_again(
    proxy: Faulty, made: list[tuple[str, bytes]], fault: Fault, is_away: bool
) -> None:
    """Of a server that was away, its recipes are asked for again too."""
    proxy.faults[AUGMENT] = deque(["", fault])
    stream = RemoteAugmenter(proxy.url, QUICK, in_flight=1)(samples(3))
    assert contents(stream) == made[:3]
    assert proxy.asked == {AUGMENT: 4, RECIPES: 1 + is_away}


def test_a_server_that_says_when_is_left_alone_until_then(
    server: Server, proxy: Faulty, made: list[tuple[str, bytes]]
) -> None:
    proxy.always[AUGMENT] = refusal(503, Retry_After=FAR)
    stream = RemoteAugmenter([proxy.url, server.url], QUICK, in_flight=1)(samples(COUNT))
    assert contents(stream) == made
    assert proxy.asked[AUGMENT] == 1


@pytest.mark.parametrize("stated", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_busy_server_that_says_when_is_not_away(
    proxy: Faulty, made: list[tuple[str, bytes]], stated: str
) -> None:
    """It has answered, however short the patience."""
    proxy.faults[AUGMENT] = deque([refusal(429, Retry_After=stated)] * 2)
    stream = RemoteAugmenter(proxy.url, QUICK, in_flight=1, patience=0)(samples(1))
    assert contents(stream) == made[:1]
    assert proxy.asked[AUGMENT] == 3


@pytest.mark.parametrize(("status", "stated"), [(429, {}), (503, {"Retry_After": FAR})])
def test_patience_ends(proxy: Faulty, status: int, stated: dict[str, str]) -> None:
    """The error says who did not answer, and why; a password in an address it does not say."""
    (port,) = free_ports(1)
    proxy.always[AUGMENT] = refusal(status, **stated)
    urls = [proxy.url, f"http://user:hush@127.0.0.1:{port}"]
    with pytest.raises(ConnectionError, match="no server answered within 0 s") as caught:
        list(RemoteAugmenter(urls, QUICK, in_flight=1, patience=0)(samples(1)))
    said = str(caught.value)
    assert f"{proxy.url}: {status} the test says so" in said
    assert f"http://127.0.0.1:{port}: " in said
    assert "hush" not in said


@pytest.fixture
def first_alone(proxy: Faulty, made: list[tuple[str, bytes]]) -> Iterator[Faulty]:
    """All pictures but the first are answered after the test."""
    gate = threading.Event()

    def held(answer: httpx.Response) -> httpx.Response:
        with Image.open(io.BytesIO(answer.content)) as image:
            if image.tobytes() != made[0][1]:
                gate.wait()
        return answer

    proxy.always[AUGMENT] = held
    yield proxy
    gate.set()


def test_closing_does_not_wait_for_an_answer(first_alone: Faulty) -> None:
    stream = RemoteAugmenter(first_alone.url, QUICK, in_flight=3)(samples(9))
    next(stream)
    stream.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("diffaug-remote") for name in names)


LEFT_OPEN = """
import sys
from diffaug import RemoteAugmenter
from tests.support.loading import QUICK, samples

stream = RemoteAugmenter(sys.argv[1], QUICK, in_flight=3)(samples(9))
print(next(stream)["__key__"])
"""


@pytest.mark.process
def test_an_exit_does_not_wait_for_an_answer(first_alone: Faulty) -> None:
    command = [sys.executable, "-c", LEFT_OPEN, first_alone.url]
    ended = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"00000-a0\n", b"")


# --- servers that are not what they should be


def offering(change: dict[str, Any], **parts: dict[str, Any]) -> Fault:
    """The recipes of a server, with other fields."""

    def changed(answer: httpx.Response) -> httpx.Response:
        (offer,) = answer.json()
        offer |= change
        for name, values in parts.items():
            offer[name] |= values
        return httpx.Response(200, json=[offer])

    return changed


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            offering({"digest": "0"}, recipe={"strength": 0.9, "seed": 4}),
            r"recipe quick differs in "
            r"strength \(0.9 there, 0.3:0.6 asked\), seed \(4 there, 3 asked\)",
        ),
        (
            offering({"digest": "0"}, model={"digest": "0" * 64}),
            "the weights of fashion-mnist-32 "
            r"\(00000000… there, ",
        ),
        (offering({"digest": "0"}, environment={"noise": "philox-0"}), r"the noise \(philox-0 "),
        (offering({}, recipe={"detail": "none"}), r"detail \(none there, keep asked\)"),
        (offering({"digest": "0"}), "its digest, though its fields are the same"),
        (lambda _: httpx.Response(200, json=[]), "offers no recipe"),
        (lambda _: httpx.Response(200, text="<html>"), "does not answer as `diffaug serve`"),
        (lambda _: httpx.Response(404, text="none"), "404 Not Found.*check the address"),
        (lambda _: httpx.Response(301, headers={"Location": "/b"}), "redirects elsewhere"),
    ],
)
def test_a_server_of_something_else_is_refused(proxy: Faulty, fault: Fault, said: str) -> None:
    proxy.always[RECIPES] = fault
    with pytest.raises(ConfigError, match=said) as caught:
        list(RemoteAugmenter(proxy.url, QUICK)(samples(3)))
    assert proxy.url in str(caught.value)
    assert proxy.asked[AUGMENT] == 0


@pytest.mark.parametrize("fault", ["drop", refusal(404, "unknown_recipe")])
def test_a_server_that_comes_back_as_another_is_refused(proxy: Faulty, fault: Fault) -> None:
    proxy.faults[AUGMENT] = deque([""])
    stream = RemoteAugmenter(proxy.url, QUICK, in_flight=1)(samples(3))
    next(stream)
    proxy.faults[AUGMENT].append(fault)
    proxy.always[RECIPES] = offering({"digest": "0"}, recipe={"strength": 0.9})
    with pytest.raises(ConfigError, match=r"strength \(0.9 there"):
        next(stream)


def test_servers_that_differ_are_refused(server: Server, proxy: Faulty) -> None:
    proxy.always[RECIPES] = offering({}, environment={"device_class": "cuda/H100"})
    with pytest.raises(ConfigError, match=r"differ in kind of device \(.*cuda/H100 at ") as caught:
        list(RemoteAugmenter([server.url, proxy.url], QUICK)(samples(COUNT)))
    assert proxy.url in str(caught.value)
    assert server.url in str(caught.value)


def test_a_picture_that_is_too_large_for_a_server(server: Server) -> None:
    large = {"__key__": "large", "png": Image.effect_noise((300, 300), 90)}
    said = rf"sample 'large': its file has \d+ bytes, and {server.url} does not .* --max-body"
    with pytest.raises(DefectError, match=said):
        list(RemoteAugmenter(server.url, QUICK)([large]))


@pytest.mark.parametrize(
    ("status", "code", "found"),
    [
        (422, "unknown_label", "unknown_label"),
        (500, "non_finite", "non_finite"),
        (415, "", "refused"),
    ],
)
def test_what_no_server_can_do_is_a_defect(
    proxy: Faulty, status: int, code: str, found: str
) -> None:
    """Which is not asked again; after the copies of the samples before it."""
    proxy.faults[AUGMENT] = deque(["", refusal(status, code)])
    stream = RemoteAugmenter(proxy.url, QUICK, in_flight=1)(samples(3))
    assert next(stream)["__key__"] == "00000-a0"
    with pytest.raises(DefectError, match="sample '00001': the test says so") as caught:
        next(stream)
    assert caught.value.code == found
    assert proxy.asked[AUGMENT] == 2


# --- without a server


@pytest.mark.parametrize("change", [{}, {"device_class": "cuda/H100"}])
def test_a_pass_goes_on_here(
    proxy: Faulty,
    made: list[tuple[str, bytes]],
    change: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the batch shape of the servers; one sample of two copies is half done."""
    recipe = QUICK.model_copy(update={"copies": 2})
    wanted = contents(Augmenter(recipe, batch_size=BATCH)(samples(6)))
    if change:
        proxy.always[RECIPES] = offering({}, environment=change)
        proxy.always[AUGMENT] = refusal(503)
    stage = RemoteAugmenter(proxy.url, recipe, in_flight=3, fallback="local", patience=0)
    stream = stage(samples(6))
    with caplog.at_level(logging.WARNING, "diffaug"):
        found = [next(stream)]
        proxy.always[AUGMENT] = proxy.always[RECIPES] = "drop"
        found += stream
    assert contents(found) == wanted
    (warning,) = (one.message for one in caplog.records if "made here" in one.message)
    assert "no server answered within 0 s" in warning
    assert "with batch size 8 and " in warning
    assert ("kind of device cuda/H100 there" in warning) == bool(change)
    assert ("could differ" in warning) == bool(change)


def test_a_pass_may_begin_here(
    made: list[tuple[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """Which is said in each pass."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    stage = RemoteAugmenter(url, QUICK, fallback="local", patience=0)
    with caplog.at_level(logging.WARNING, "diffaug"):
        for count in (1, 2):
            found = contents(stage(samples(2)))
            assert [key for key, _ in found] == [key for key, _ in made[:2]]
            said = [one.message for one in caplog.records if "made here" in one.message]
            assert len(said) == count


def test_the_next_pass_knows_the_servers_of_the_one_before(
    proxy: Faulty, made: list[tuple[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    """Others than those it does not take, and without them it has their batch size."""
    stage = RemoteAugmenter(proxy.url, QUICK, fallback="local", patience=0)
    assert contents(stage(samples(1))) == made[:1]
    proxy.always[RECIPES] = offering({}, environment={"device_class": "cuda/H100"})
    with pytest.raises(ConfigError, match=r"differ in kind of device \(.*cuda/H100 at "):
        list(stage(samples(1)))
    proxy.always[RECIPES] = "drop"
    with caplog.at_level(logging.WARNING, "diffaug"):
        assert contents(stage(samples(2))) == made[:2]
    assert "with batch size 8 and " in caplog.text


def test_a_source_that_gave_up_is_not_this_pass(
    proxy: Faulty, made: list[tuple[str, bytes]]
) -> None:
    """A stage before this one whose servers are gone: its samples cannot be made here."""

    def source() -> Iterator[dict[str, Any]]:
        yield from samples(2)
        raise UnansweredError("the stage before says so")

    stage = RemoteAugmenter(proxy.url, QUICK, in_flight=1, fallback="local")
    stream = stage(source())
    assert contents([next(stream), next(stream)]) == made[:2]
    with pytest.raises(UnansweredError, match="the stage before says so"):
        next(stream)
