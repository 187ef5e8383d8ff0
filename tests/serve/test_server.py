"""The server's socket."""

from __future__ import annotations

import socket

from diffaug.serve.server import listen


def test_an_answer_does_not_wait_for_an_acknowledgement_of_its_head() -> None:
    """Without this, an answer of two packets takes 40 ms on some connections (RFC 896, 1122)."""
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
