"""Names of files on the terminal: never markup, emoji codes or control characters."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from rich.table import Table

from diffaug.cli.console import PlainConsole
from diffaug.cli.progress import Log, counted
from tests.conftest import Cli


def printed(*objects: object) -> str:
    stream = io.StringIO()
    PlainConsole(file=stream, width=80, force_terminal=True, color_system=None).print(*objects)
    return stream.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *("a:b:c.tar", ":smile:", ":warning-emoji:", "[bold]x[/]", "[link=x]y[/link]", "[/]"),
        *("\\[x]", "ünïcödé.tar", "a b.tar", "https://x/y?z=1", "<x>", "`x`", "日本.tar"),
    ],
)
def test_a_name_is_printed_as_it_is(name: str) -> None:
    assert printed(name) == f"{name}\n"
    table = Table("names", title=name)
    table.add_row(name)
    assert printed(table).count(name) == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]8;;http://x\x07y", "\\x1b]8;;http://x\\x07y"),
        ("over\rwritten\b", "over\\x0dwritten\\x08"),
        ("\x9b2J", "\\x9b2J"),
        ("\udcff.tar", "\\xff.tar"),
        ("\ud800", "\\ud800"),
        ("txt\u202egpj", "txt\\u202egpj"),
    ],
)
def test_what_would_steer_the_terminal_is_shown(name: str, shown: str) -> None:
    assert printed(name) == f"{shown}\n"
    table = Table("names")
    table.add_row(name)
    assert shown in printed(table)


def test_lines_stay_lines() -> None:
    assert printed("one\ntwo") == "one\ntwo\n"


def test_names_in_mistakes_of_every_kind(cli: Cli, tmp_path: Path) -> None:
    for name in ("a:b:c", "[bold]x[/bold]", "[/]"):
        cli("verify", tmp_path / name).assert_mistake(f"{name} is not an output")
        cli("augment", tmp_path / name, "out").assert_mistake(name)
        cli("pack", tmp_path / name, "out").assert_mistake(f"no such source: {tmp_path}/{name}")
        cli(name).assert_mistake(f'Unknown command "{name}"')
        cli("verify", "out", "--replay", name).assert_mistake(name)


def test_a_name_that_is_no_utf8_does_not_end_the_command() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8")  # as strict as standard output
    PlainConsole(file=stream).print("\udcff.tar")
    stream.flush()
    assert written.getvalue() == b"\\xff.tar\n"


def test_a_warning_is_printed_like_a_message(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli("verify", "nowhere", "--log-json")
    log = logging.getLogger("diffaug.storage")
    log.warning("%s changed", "a:b:c \x1b[31m")
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["message"]) == ("warning", "a:b:c \x1b[31m changed")
    cli("verify", "nowhere")
    log.warning("%s changed", "a:b:c \x1b[31m")
    assert capsys.readouterr().err == "a:b:c \\x1b[31m changed\n"


def test_the_live_line_holds_no_markup() -> None:
    stream = io.StringIO()
    log = Log(PlainConsole(file=stream, width=80, force_terminal=True))
    assert list(counted([1], 1, "doing :b: [x]", log)) == [1]
    assert "doing :b: [x]" in stream.getvalue()
