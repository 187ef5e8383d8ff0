"""Every error diffaug raises on purpose, in one tree.

DiffaugError
├── ConfigError       a mistake in what was asked: recipe, model, source or output (exit code 2)
├── DefectError       a defect of a source's bytes; in a job it becomes a `failed` row
├── DivergedError     a training's loss is no longer a finite number (exit code 1)
├── OutOfMemoryError  a network's call does not fit into memory (exit code 1)
└── UncommittedError  storage or memory failed: some shards are left to be done again (exit code 1)
"""

from __future__ import annotations

import re
from importlib.util import find_spec

from pydantic import ValidationError

__all__ = [
    "ConfigError",
    "DefectError",
    "DiffaugError",
    "DivergedError",
    "OutOfMemoryError",
    "UncommittedError",
    "as_os_error",
    "explain",
    "os_error_number",
    "require_extra",
]


class DiffaugError(Exception):
    """The root of every error diffaug raises on purpose. Its text says what to do."""


class ConfigError(DiffaugError, ValueError):
    """A mistake in the request. The text names the field or file, and the cure."""


class DefectError(DiffaugError, ValueError):
    """A defect of the source bytes, which they have whenever and wherever they are read.

    Attributes:
        code: the manifest's `reason_code`, a word that does not change between versions.
        reason: the manifest's `reason`, a sentence for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class DivergedError(DiffaugError):
    """A training's loss is no longer finite. The text names the last good checkpoint."""


class OutOfMemoryError(DiffaugError):
    """A network's call does not fit into memory. The text says what does, or what to free.

    Attributes:
        device: where.
        batch_size: how many samples the call had.
        fits: a smaller batch size that was tried and fits; None where not even one sample does.
    """

    def __init__(
        self, text: str, *, device: str = "cpu", batch_size: int = 1, fits: int | None = None
    ) -> None:
        super().__init__(text)
        self.device = device
        self.batch_size = batch_size
        self.fits = fits


class UncommittedError(DiffaugError):
    """Some shards could not be committed. Nothing wrong was published; run the same job again."""


def as_os_error(error: Exception) -> OSError:
    """Wrap any error that a store raised in an OSError, diffaug's kind for storage failures."""
    return OSError(f"{type(error).__name__}: {error}")


_NUMBER = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust, such as safetensors, end what the system reported."""


def os_error_number(error: BaseException | None) -> int | None:
    """The number of the system's error behind a library's, such as ENOSPC; None if there is none.

    Args:
        error: an error, which may have the system's as its cause or context, or in its text.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if said := _NUMBER.search(str(error)):
            return int(said[1])
        error = error.__cause__ or error.__context__
    return None


def explain(error: ValidationError) -> str:
    """Turn a pydantic error into sentences, one a field, without pydantic's links and types."""
    sentences = []
    for item in error.errors(include_url=False):
        if item["type"] == "value_error":  # raised by our own validators, which name the field
            sentences.append(item["msg"].removeprefix("Value error, "))
            continue
        field = ".".join(str(part) for part in item["loc"])
        message = "no such field" if item["type"] == "extra_forbidden" else item["msg"]
        sentences.append(f"{field}: {message} (got {item['input']!r})")
    return "; ".join(sentences)


def require_extra(what: str, extra: str, *modules: str) -> None:
    """Check that optional packages are installed before the work that needs them begins.

    Args:
        what: needs them: the subject of the sentence.
        extra: of diffaug, which brings them.
        modules: the names by which they are imported.

    Raises:
        ConfigError: one is not installed; the text names the extra to install.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"{what} requires {' and '.join(missing)}: pip install 'diffaug[{extra}]'"
        )
