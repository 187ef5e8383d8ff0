"""Retries of transient storage errors, with exponential backoff."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

__all__ = ["ATTEMPTS", "ChangedError", "patiently"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 6
"""Attempts at one operation, with waits of up to 10 s, on top of the store client's own retries."""

PATIENCE = 120
"""Seconds after which an operation is not retried."""

_QUERY = re.compile(r"(?<=[^\s'\"])\?[^\s'\"]+")

_CUT_UPLOADS = ("IncompleteBody", "BadDigest", "RequestTimeout")
"""S3's codes for uploads that a bad connection cut, which s3fs takes for wrong requests."""


class ChangedError(OSError):
    """A file changed after its reading began."""


_LASTING = (
    ChangedError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ImportError,
    TypeError,
    ValueError,
    MemoryError,
)
_LASTING_NUMBERS = (
    errno.EINVAL,  # the request is wrong, or its precondition does not hold
    errno.EPERM,
    errno.ENOSYS,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
)


def patiently(what: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a remote store, and retry while its error may be transient.

    Raises:
        OSError: the error persisted, or is of a kind that retries never cure.
        NotImplementedError, TypeError: the store has no such operation.
    """
    try:
        return _retrying(what, *arguments, **options)
    except FileNotFoundError as error:
        if getattr(error.__cause__, "status", None) in (401, 403):
            raise PermissionError(_text(error.__cause__)) from error
        if not _is_transient(error):
            raise
        raise OSError(_text(error.__cause__)) from error
    except (OSError, NotImplementedError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise OSError(_text(error)) from error


def _text(error: BaseException | None) -> str:
    """An error's kind and text, without the queries of its URLs, which can hold signatures."""
    return f"{type(error).__name__}: {_QUERY.sub('', str(error))}"


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError):
        return _is_outage(error.__cause__)
    if _code(error) in _CUT_UPLOADS:
        return True
    if isinstance(error, OSError) and error.errno in _LASTING_NUMBERS:
        return False
    return isinstance(error, Exception) and not isinstance(error, _LASTING)


def _is_outage(cause: BaseException | None) -> bool:
    """Whether a FileNotFoundError hides an outage: fsspec's HTTP raises it for any failure."""
    if isinstance(cause, TimeoutError):
        return True
    if cause is None or not type(cause).__module__.startswith("aiohttp."):
        return False
    status = getattr(cause, "status", 503)
    return status in (408, 429) or status >= 500


def _code(error: BaseException) -> str | None:
    """S3's own code for an error that s3fs has translated."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _log_failure(state: RetryCallState) -> None:
    """Log the error's kind but not its text, which could hold secrets."""
    error = state.outcome.exception() if state.outcome else None
    _log.warning("a store failed (%s), attempt %d", type(error).__name__, state.attempt_number)


_retrying = Retrying(
    retry=retry_if_exception(_is_transient),
    stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(PATIENCE),
    wait=wait_random_exponential(multiplier=0.2, max=10),
    before_sleep=_log_failure,
    reraise=True,
)
