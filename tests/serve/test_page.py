"""The page of a server in a real browser, its description, and rows that leave it."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import SHARDS, Cli
from tests.support.browser import CHROMIUM, chromium
from tests.support.described import conform
from tests.support.forks import Forks
from tests.support.jobs import GREY, members
from tests.support.serving import Server, recipe_file, serving

pytestmark = pytest.mark.services

TOKEN = "of-the-tests-1234567890"
PLAIN: dict[str, Any] = {"model": GREY, "strength": 0.4, "steps": 8}
LABELLED: dict[str, Any] = PLAIN | {"condition": "label", "guidance": 2, "format": "webp"}

visible = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: Debian has it as `chromium`"
)


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a token, a cache, and two recipes, one of which requires a class."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tokens").write_text(TOKEN)
    recipes = [recipe_file(folder, "plain", **PLAIN), recipe_file(folder, "labelled", **LABELLED)]
    flags = [argument for file in recipes for argument in ("--recipe", file)]
    flags += ["--tokens", folder / "tokens", "--cache", folder / "cache"]
    with serving(forked, *flags, token=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def boot() -> bytes:
    return next(data for name, data in members(SHARDS[0]).items() if name.endswith(".png"))


@pytest.fixture
def picture(boot: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "a boot's.png"
    path.write_bytes(boot)
    return path


# --- the page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page with the token in it; all that it asks for is the server's."""
    page = browser.new_page()
    wrong: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/docs")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_label("Token").press("Tab")
    expect(page.get_by_label("Recipe").locator("option")).to_have_count(2)
    yield page
    page.close()
    own = (f"{server.url}/", f"blob:{server.url}/", "data:,")
    assert [url for url in asked if not url.startswith(own)] == []
    assert [text for text in wrong if "status of 4" not in text] == []  # of problems, on purpose


def augment(page: Page) -> None:
    page.get_by_role("button", name="Augment").click()


def saved(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as begun:
        page.get_by_role("link", name=name).click()
    path = folder / begun.value.suggested_filename
    begun.value.save_as(path)
    return path


@visible
def test_the_token_is_asked_for_in_words(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.goto(f"{server.url}/docs")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("401 Unauthorized")
    expect(alert).to_contain_text("Bearer TOKEN")
    expect(page.get_by_label("Token")).to_be_visible()
    page.close()


@visible
def test_a_picture_is_augmented_and_made_again(
    page: Page,
    server: Server,
    boot: bytes,
    picture: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is shown is what the server answers to others; the two commands make the same file."""
    monkeypatch.chdir(picture.parent)
    page.get_by_label("Picture or drop").set_input_files(picture)
    page.get_by_label("Recipe").select_option("labelled")
    page.get_by_label("Copy").fill("3")
    page.get_by_label("Label", exact=True).fill("9")
    augment(page)
    expect(page.get_by_role("status")).to_contain_text("Done in ")
    for name in ("source", "result"):
        image = page.get_by_role("img", name=name)
        expect(image).to_be_visible()
        assert image.evaluate("image => image.naturalWidth") == 28
    alone = server.post(boot, recipe="labelled", copy=3, label=9)
    made = saved(page, "Save the picture", picture.parent)
    assert made.name == "a boot's-a3.webp"
    assert made.read_bytes() == alone.content

    lines = page.locator("#row tr").all()
    shown = {line.locator("th").inner_text(): line.locator("td").inner_text() for line in lines}
    row = json.loads(alone.headers["diffaug-row"])
    assert shown.keys() == row.keys()
    for name, value in row.items():
        assert type(value)(shown[name]) == value

    made.unlink()
    line = page.locator("#curl").inner_text().replace("\\\n", "").replace("$TOKEN", TOKEN)
    curl = shlex.split(line)
    assert curl[0] == "curl"
    headers = [curl[place + 1] for place, each in enumerate(curl) if each == "-H"]
    again = httpx.post(
        curl[1],
        content=Path(curl[curl.index("--data-binary") + 1].removeprefix("@")).read_bytes(),
        headers=dict(header.split(": ", 1) for header in headers),
    )
    assert again.content == alone.content
    assert curl[curl.index("-o") + 1] == made.name

    saved(page, "Save the row", picture.parent)
    replay = shlex.split(page.locator("#replay").inner_text())
    said = cli(*replay[1:])
    assert (said.code, "equal: " in said.out) == (0, True), said
    assert made.read_bytes() == alone.content


@visible
def test_a_picture_can_be_dropped(page: Page, boot: bytes) -> None:
    data = page.evaluate_handle(
        """text => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "<b>.png", { type: "image/png" }));
            return data;
        }""",
        base64.b64encode(boot).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    expect(page.locator("figcaption").first).to_have_text("<b>.png, 28 \u00d7 28, 0.4 kB")
    augment(page)
    expect(page.get_by_role("img", name="result")).to_be_visible()


@visible
def test_a_problem_is_told_in_words_and_the_next_picture_is_made(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(picture.read_bytes()[:100])
    page.get_by_label("Picture or drop").set_input_files(torn)
    augment(page)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("400 Bad Request")
    expect(alert).to_contain_text("cannot be decoded")
    page.get_by_label("Picture or drop").set_input_files(picture)
    expect(alert).to_be_hidden()
    augment(page)
    expect(page.get_by_role("img", name="result")).to_be_visible()


@visible
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_fits_any_screen_and_every_control_has_a_name(
    width: int, colours: Any, browser: Browser, server: Server
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
    page.goto(f"{server.url}/docs")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (colours == "dark")
    unnamed = "[...document.querySelectorAll('input, select')].filter((one) => !one.labels.length)"
    assert page.evaluate(f"{unnamed}.length") == 0
    page.close()


def test_the_page_may_load_nothing_from_elsewhere(server: Server) -> None:
    answer = server.client.get("/docs", headers={"Authorization": ""})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


# --- the description


def test_answers_are_as_described(server: Server, boot: bytes) -> None:
    document = server.client.get("/openapi.json").json()
    client, augmented = server.client, "/v1/augment"
    made = server.post(boot, recipe="plain")
    tag = made.headers["etag"]
    for answer, status in (
        (made, 200),
        (server.post(boot, recipe="plain", accept="application/json"), 200),
        (server.post(boot, recipe="labelled", label=3), 200),
        (server.post(boot), 400),
        (server.post(boot, recipe="plain", copy=-1), 400),
        (server.post(boot, recipe="none"), 404),
        (server.post(bytes(2**26 + 1), recipe="plain"), 413),
        (server.post(boot, recipe="plain", media_type="text/plain"), 415),
        (server.post(boot, recipe="labelled"), 422),
        (client.post(augmented, headers={"Authorization": "Bearer other"}), 401),
        (
            client.post(
                f"{augmented}?recipe=plain",
                content=boot,
                headers={"Content-Type": "image/png", "If-None-Match": tag},
            ),
            412,
        ),
    ):
        assert answer.status_code == status
        conform(document, augmented, answer)
    for headers, status in (({}, 200), ({"If-None-Match": tag}, 304)):
        answer = client.get(f"/v1/augmented/{tag.strip(chr(34))}", headers=headers)
        assert answer.status_code == status
        conform(document, "/v1/augmented/{etag}", answer)
    conform(document, "/v1/augmented/{etag}", client.get("/v1/augmented/0123"))
    for path in ("/v1/recipes", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"):
        answer = client.get(path)
        assert answer.status_code == 200
        conform(document, path, answer)


# --- rows that leave it


@pytest.mark.parametrize("name", ["plain", "labelled"])
def test_an_answer_is_made_again_from_its_json(
    name: str, server: Server, boot: bytes, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    asked: dict[str, Any] = {"recipe": name, "copy": 5, "label": 2, "key": "a/b", "label_text": "ü"}
    answer = server.post(boot, accept="application/json", **asked)
    (tmp_path / "row.json").write_bytes(answer.content)
    again = tmp_path / "again"
    said = cli("replay", tmp_path / "row.json", "--source", picture, "-o", again)
    assert said.code == 0, said
    assert again.read_bytes() == base64.b64decode(answer.json()["image"])
    assert again.read_bytes() == server.post(boot, **asked).content
