"""`diffaug serve`: who may reach it, before anything is loaded."""

from __future__ import annotations

import pytest

from tests.conftest import Cli


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "::", "", "192.0.2.1", "169.254.1.1", "2001:db8::1", "127.1"),
        *("example.org", "localhost.example.org", "127.0.0.1.example.org"),
    ],
)
def test_what_others_can_reach_requires_tokens(cli: Cli, host: str) -> None:
    cli("serve", "--host", host).assert_mistake("can be reached from other machines: give --tokens")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_the_machine_itself_does_not(cli: Cli, host: str) -> None:
    cli("serve", "--host", host, "--model", "no/such-model").assert_mistake("no/such-model")
