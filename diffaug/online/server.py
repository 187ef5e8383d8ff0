"""One server: whether it is up, what it offers, and one request to it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx

from diffaug.errors import ConfigError, DefectError, DiffaugError
from diffaug.online.address import Address
from diffaug.online.offer import Offer, Wanted, read_offers
from diffaug.online.wire import Packed

__all__ = ["AwayError", "BusyError", "Request", "Server"]

Trace = Callable[[str, dict[str, Any]], None]

_FIRST_REST, _LONGEST_REST = 1.0, 30.0
"""Seconds for which a server that failed is left alone: at first, and in the end."""

_OF_THE_PICTURE = (400, 413, 415, 422)
"""Statuses that another try or another server would not change."""


class AwayError(DiffaugError):
    """A server did not answer, or not as it should; another one may.

    Attributes:
        seconds: to leave it alone for, if it said so.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class BusyError(DiffaugError):
    """A server has too much work.

    Attributes:
        seconds: after which to ask it again, if it said so.
    """

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Request:
    """One copy of one picture or clip.

    Attributes:
        picture: its file.
        accept: the media type of the answer.
        parameters: of the query, but for the recipe.
        identity: of the copy, whichever server makes it.
    """

    picture: Packed
    accept: str
    parameters: Mapping[str, str]
    identity: str


class Server:
    """One of the servers that a pass has; any number of threads may ask it.

    Args:
        address: where it listens.
        client: sends the requests.
        wanted: what all servers must agree on.
        trace: is called with each event of a connection, as httpcore names and describes it.

    Attributes:
        url: as people see it.
        failure: how the last request failed, in words; empty if none did.
    """

    def __init__(
        self, address: Address, client: httpx.Client, wanted: Wanted, trace: Trace
    ) -> None:
        self.url, self.failure = address.url, ""
        self._options: dict[str, Any] = {"extensions": {"trace": trace}}
        if address.login is not None:
            self._options["auth"] = httpx.BasicAuth(*address.login)
        self._client, self._wanted = client, wanted
        self._offer: Offer | None = None
        self._checking = threading.Lock()
        self._failures = 0
        self._up_at = 0.0

    def rank(self, identity: str) -> bytes:
        """The larger it is among all servers, the rather this one is asked for something."""
        return hashlib.sha256(f"{self.url} {identity}".encode()).digest()

    def rests(self) -> float:
        """Seconds for which it is left alone, since it failed; 0 or less if it may be asked."""
        if self._failures and self._checking.locked():  # somebody looks whether it is back
            return _FIRST_REST / 10
        return self._up_at - time.monotonic()

    def ask(self, request: Request) -> bytes:
        """A copy, as a file.

        Raises:
            AwayError: the server does not answer; it is to be left alone for a while.
            BusyError: it has too much work.
            ConfigError: it does not make what is asked for, or nothing for this client.
            DefectError: the picture or its class is unusable.
        """
        try:
            offer = self._agreed()
            answer = self._send(
                "POST",
                "/v1/augment",
                params={**request.parameters, "recipe": offer.digest},
                content=request.picture.data,
                headers={"Content-Type": request.picture.media_type, "Accept": request.accept},
            )
            if answer.status_code != 200:
                self._refuse(answer, request)
            found = self._taken(answer, offer, request.accept)
        except BusyError as busy:
            self.failure = str(busy)
            raise
        except AwayError as away:
            self._rest(away)
            raise
        self._failures = 0
        return found

    def _agreed(self) -> Offer:
        """What it makes, asked for at the first request and after each failure."""
        if (offer := self._offer) is not None:
            return offer
        with self._checking:
            if self._offer is None:
                if self._up_at > time.monotonic():  # another thread has found out meanwhile
                    raise AwayError(self.failure)
                answer = self._send("GET", "/v1/recipes")
                if answer.status_code != 200:
                    self._refuse(answer)
                self._offer = self._wanted.choose(self.url, read_offers(answer.content, self.url))
            return self._offer

    def _rest(self, away: AwayError) -> None:
        self._offer = None  # what comes back may be another server
        if self._up_at > time.monotonic():
            return
        self.failure = str(away)
        rest = min(_FIRST_REST * 2 ** min(self._failures, 9), _LONGEST_REST)
        self._failures += 1
        self._up_at = time.monotonic() + (away.seconds or rest)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, self.url + path, **options, **self._options)
        except httpx.RequestError as error:
            said = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in said:
                raise ConfigError(f"{self.url}: its certificate is not trusted: {said}") from None
            raise AwayError(said) from None

    def _refuse(self, answer: httpx.Response, request: Request | None = None) -> NoReturn:
        """Raise the error that an answer is."""
        status = answer.status_code
        code, detail = _problem(answer)
        said = f"{status} {detail}"
        if status in (408, 429):
            raise BusyError(said, _retry_after(answer))
        if request is not None and (status in _OF_THE_PICTURE or code == "non_finite"):
            if status == 413 and code != "too_many_pixels":
                size = len(request.picture.data)
                detail = (
                    f"its file has {size} bytes, and {self.url} does not take as many: raise its "
                    "--max-body"
                )
            raise DefectError(code or "refused", detail)
        if status in (401, 403):
            raise ConfigError(
                f"{self.url} does not let this client in ({said}): give a token that it knows"
            )
        if status >= 500 or code == "unknown_recipe":
            raise AwayError(said, _retry_after(answer))
        if answer.is_redirect:
            raise ConfigError(f"{self.url} redirects elsewhere: give the address that it leads to")
        raise ConfigError(
            f"{self.url} does not answer as `diffaug serve` does ({said}): check the address"
        )

    def _taken(self, answer: httpx.Response, offer: Offer, accept: str) -> bytes:
        """The file in an answer, after its row is compared with it and with the offer."""
        try:
            row = json.loads(answer.headers["diffaug-row"])
            digest = row["output_sha256"]
        except (KeyError, TypeError, ValueError):
            raise ConfigError(
                f"{self.url} answers without the header Diffaug-Row, by which an answer is "
                "checked: does a proxy drop it?"
            ) from None
        if digest != hashlib.sha256(answer.content).hexdigest():
            raise AwayError("its answer was torn: its bytes are not those that its row names")
        if names := offer.denied_by(row):
            raise AwayError(f"its answer was made otherwise than it offered: {', '.join(names)}")
        if (stated := answer.headers.get("content-type")) != accept:
            raise ConfigError(
                f"{self.url} answers with {stated} instead of {accept}: is it of another version?"
            )
        return answer.content


def _problem(answer: httpx.Response) -> tuple[str, str]:
    """Code and words of an error: RFC 9457's, or those of whatever is in between."""
    try:
        body = answer.json()
        return str(body["code"]), str(body["detail"])
    except (ValueError, TypeError, KeyError):
        return "", answer.reason_phrase


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds, which a header says as such or as a date."""
    stated = answer.headers.get("retry-after", "")
    if stated.isascii() and stated.isdecimal():
        return min(float(stated), threading.TIMEOUT_MAX)
    try:
        date = parsedate_to_datetime(stated)
    except ValueError:
        return None
    return max(date.timestamp() - time.time(), 0.0)
