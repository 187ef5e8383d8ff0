"""Hostile requests: what a connection may bring that no client of ours sends.

All ask a server of one recipe, and ask it to close the connection once it has answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.hostile import png

__all__ = ["PICTURE", "REQUESTS", "Request", "get", "post"]

PICTURE = png(1)

MARK = "/mark-of-the-tests"
"""Part of every path and URL that hostile parameters name: nothing of this name may be opened."""

CHUNKED = f"{len(PICTURE):x}\r\n".encode() + PICTURE + b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """One hostile request.

    Attributes:
        name: of its test.
        what: one line for people.
        data: all bytes of it.
        status: of the answer.
        code: of the problem that is answered; None: it is answered as if it were harmless.
    """

    name: str
    what: str
    data: bytes
    status: int = 200
    code: str | None = None


REQUESTS: dict[str, Request] = {}


def _add(name: str, what: str, data: bytes, status: int = 200, code: str | None = None) -> None:
    assert name not in REQUESTS, name
    REQUESTS[name] = Request(name, what, data, status, code)


def post(query: str = "", *headers: str, body: bytes = PICTURE, length: bool = True) -> bytes:
    """A request for a copy of a picture; headers as `Name: value`."""
    more = (*headers, "Content-Type: image/png")
    if length:
        more += (f"Content-Length: {len(body)}",)
    return get(f"/v1/augment?{query}", *more, method="POST") + body


def get(target: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    lines = (f"{method} {target} HTTP/{version}", "Host: x", "Connection: close", *headers)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _framed(name: str, what: str, *headers: str, status: int, code: str | None = None) -> None:
    _add(name, what, post("", *headers, length=False), status, code)


def _chunked(name: str, what: str, body: bytes, status: int = 400) -> None:
    data = post("", "Transfer-Encoding: chunked", body=body, length=False)
    _add(name, what, data, status, "bad_http" if status == 400 else None)


def _query(name: str, what: str, query: str, status: int = 200, code: str | None = None) -> None:
    _add(name, what, post(query), status, code)


def _path(
    name: str, what: str, target: str, status: int = 404, code: str | None = "not_cached"
) -> None:
    _add(name, what, get(target), status, code)


# --- lengths

LENGTH = "Content-Length"
SIZE = len(PICTURE)
_framed(
    "negative_length", "a negative Content-Length", f"{LENGTH}: -5", status=400, code="bad_http"
)
_framed("worded_length", "a Content-Length in words", f"{LENGTH}: ten", status=400, code="bad_http")
_framed(
    "huge_length",
    "a Content-Length of nineteen nines",
    f"{LENGTH}: {'9' * 19}",
    status=413,
    code="too_large_body",
)
_framed(
    "longest_length",
    "a Content-Length of five thousand digits",
    f"{LENGTH}: {'9' * 5000}",
    status=400,
    code="bad_http",
)
_framed(
    "two_lengths",
    "two lengths that differ",
    f"{LENGTH}: {SIZE}",
    f"{LENGTH}: 5",
    status=400,
    code="bad_http",
)
_framed("same_length_twice", "one length, twice", *[f"{LENGTH}: {SIZE}"] * 2, status=200)
_framed(
    "unknown_encoding",
    "a transfer encoding that is not known",
    "Transfer-Encoding: gzip",
    status=400,
    code="bad_http",
)
_chunked("chunks", "chunks, without a length", CHUNKED, 200)
_chunked("no_chunk", "a chunk without a size", b"what is this\r\n")
_chunked("no_second_chunk", "a second chunk without a size", b"5\r\nhello\r\nwhat\r\n")
_chunked("huge_chunk", "a chunk whose size has a hundred digits", b"f" * 100 + b"\r\nx")
_add(
    "smuggled",
    "a length and chunks, of which two servers may believe different ones",
    post("", "Transfer-Encoding: chunked", body=CHUNKED),
    400,
    "bad_length",
)
_add("expects", "`Expect: 100-continue`: the body is asked for", post("", "Expect: 100-continue"))
_add(
    "expects_too_much",
    "`Expect: 100-continue` before a body that is too large: it is not asked for",
    post("", "Expect: 100-continue", f"{LENGTH}: {10**9}", length=False, body=b""),
    413,
    "too_large_body",
)

# --- heads

_add("many_headers", "five thousand headers", post("", *(f"X-{n}: y" for n in range(5000))))
_add(
    "endless_head",
    "a head of more than 256 KiB",
    get("/livez", "X: " + "y" * 2**18)[:-4],
    400,
    "bad_http",
)
_add("folded_header", "a header in two lines, as was once allowed", post("", "X: a\r\n b"))
_add("nul_in_header", "a NUL in a header", post("", "X: a\0b"), 400, "bad_http")
_add("no_host", "no Host", b"GET /livez HTTP/1.1\r\n\r\n", 400, "bad_http")
_add("old", "HTTP/1.0", post().replace(b"HTTP/1.1", b"HTTP/1.0"))
_add("oldest", "HTTP/0.9", b"GET /livez\r\n\r\n", 400, "bad_http")
_add("tls", "the first bytes of TLS", bytes.fromhex("16030102000100") + bytes(99), 400, "bad_http")
_add(
    "upgrade",
    "an upgrade to WebSocket: not taken",
    get("/livez", "Connection: Upgrade", "Upgrade: websocket"),
)
_add(
    "odd_accept",
    "an Accept and an If-None-Match of garbage",
    post("", "Accept: ;;é", 'If-None-Match: W/"é,,'),
)
for _method in ("HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "BREW"):
    _add(_method.lower(), f"the method {_method}", get("/v1/augment", method=_method), 405, "http")

# --- parameters

_query("copy_beyond", "`copy=2147483648`", "copy=2147483648", 400, "bad_request")
_query("copy_last", "`copy=2147483647`", "copy=2147483647")
_query("copy_negative", "`copy=-1`", "copy=-1", 400, "bad_request")
_query("copy_real", "`copy=1.0`", "copy=1.0", 400, "bad_request")
_query("copy_empty", "`copy=`", "copy=", 400, "bad_request")
_query("label_huge", "a label of five thousand digits", f"label={'9' * 5000}", 400, "bad_request")
_query("label_arabic", "a label in Arabic digits", "label=%d9%a1", 400, "bad_request")
_query("nul_in_texts", "a NUL in `label_text` and `key`", "label_text=%00&key=%00")
_query("not_utf_8", "`label_text` that is not UTF-8", "label_text=%ff%fe%ed%a0%80")
_query("long_text", "a `label_text` as long as a shard's may be", f"label_text={'x' * 2**16}")
_query("longer_text", "a longer one", f"label_text={'x' * (2**16 + 1)}", 400, "bad_request")
_query("long_key", "a `key` of 5,000 letters", f"key={'x' * 5000}", 400, "bad_request")
_query("format_string", "a format string in `label_text`", "label_text={0.__class__}%25s{key}{")
_query("header_in_key", "a header in `key`", "key=%0d%0aX-Evil:%20yes%0d%0a%0d%0abody")
_query("path_in_key", "a path in `key` and `label_text`", f"key=..%2f..{MARK}&label_text={MARK}")
_query("url_in_key", "a URL in `key`", f"key=http://169.254.169.254{MARK}&label_text=file://{MARK}")
_query(
    "unknown_parameters",
    "`model=`, `source=` and `lora=`",
    f"model={MARK}&source={MARK}&lora={MARK}",
)
_query("many_parameters", "two thousand parameters", "&a=b" * 2000)
for _what, _recipe in {"path": f"..%2f..{MARK}.yaml", "URL": f"http://x{MARK}"}.items():
    _query(
        f"{_what}_as_recipe", f"a {_what} in `recipe`", f"recipe={_recipe}", 404, "unknown_recipe"
    )

# --- paths

_path("climbs", "`/v1/augmented/..%2f..%2f…`", f"/v1/augmented/..%2f..{MARK}", code="http")
_path("parent", "`/v1/augmented/..`", "/v1/augmented/..")
_path("nul_in_etag", "`/v1/augmented/%00`", "/v1/augmented/%00")
_path("windows_etag", "`/v1/augmented/..%5c..`", "/v1/augmented/..%5c..")
_path("long_etag", "an ETag of 5,000 letters", f"/v1/augmented/{'a' * 5000}")
_path("header_in_etag", "a header in an ETag", "/v1/augmented/%0d%0aX-Evil:%20yes")
_path("absolute", "`GET http://169.254.169.254/…`", f"http://169.254.169.254{MARK}", code="http")
_path("two_slashes", "`//v1/augment`", "//v1/augment", code="http")
_path(
    "last_slash",
    "`/v1/recipes/`: not redirected to the host of the request",
    "/v1/recipes/",
    code="http",
)
_add("raw_utf_8", "a path in UTF-8", get("/é"), 400, "bad_http")
