"""One row that has left its output: read from a JSON file, and its image made again.

A server answers in this form to `Accept: application/json`. It is an object of

- `row`: a manifest row, as JSON: null where a number is not finite;
- `recipe`: the whole recipe;
- `environment`: versions and noise, as in a part's metadata; without it, only the row's versions
  are compared with those here;
- `image`: the image in base64, which is compared where it was made elsewhere; may be absent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffaug.audit.rebuild import DisagreeError, plan_again, rebuilt
from diffaug.audit.verdicts import MismatchError, Replayed
from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import CHANGES_PIXELS
from diffaug.job.binding import Binding, PartRecord
from diffaug.manifest.columns import COLUMNS
from diffaug.manifest.part import Row

__all__ = ["Record", "read_record"]

_NEEDED = (
    *("sample_id", "copy", "source_sha256", "model", "model_digest", "recipe_digest"),
    *("strength", "batch_size", "dtype", "device", "output_sha256", "output_pixel_sha256"),
)
"""Columns without which an image can be neither made again nor compared."""

_FORM = (
    'an object of "row", a whole manifest row, and "recipe", as a server answers to Accept: '
    "application/json"
)


@dataclass(frozen=True, slots=True)
class Record:
    """A row with what its image was made by.

    Attributes:
        row: a manifest row, with all columns.
        part: its recipe and environment.
        image: the bytes of its image's file; None if they are not recorded.
    """

    row: Row
    part: PartRecord
    image: bytes | None

    def is_of(self, picture: bytes) -> bool:
        """Whether a file is the row's source, byte for byte."""
        return bool(hashlib.sha256(picture).hexdigest() == self.row["source_sha256"])

    def replay(self, picture: bytes) -> Replayed:
        """Make the image again, and compare it with the row.

        Args:
            picture: the file of the row's source, or another one with the same pixels.

        Raises:
            ConfigError: the picture is not the row's source, or the row's batch_size or dtype are
                none.
        """
        row, binding = self.row, Binding.of_row(self.part, self.row)
        elsewhere = self.part.elsewhere(row, binding.execution)

        def differs(reason: str) -> Replayed:
            return Replayed(row=row, verdict="differs", reason=reason, elsewhere=elsewhere)

        if binding.recipe.mask_key is not None:
            raise ConfigError(
                f"the row's recipe has mask_key={binding.recipe.mask_key}, and a picture alone has "
                "no mask: replay it from its OUTPUT"
            )
        try:
            editor = binding.editor()
            draft = plan_again(row, editor, picture, elsewhere=elsewhere)
        except DisagreeError as error:
            if "sample_id" in error.columns:
                self._refuse_other(picture, "its pixels are others too")
            return differs(str(error))
        except DefectError as defect:
            self._refuse_other(picture, defect.reason)
            return differs(f"it cannot be rebuilt: {defect.reason}")
        except ConfigError as error:
            return differs(str(error))
        ((_, x_0),) = editor.steps().run([(None, draft.edit)])
        assert x_0 is not None
        return rebuilt(row, editor, draft.finish, x_0, elsewhere, self._stored)

    def _refuse_other(self, picture: bytes, reason: str) -> None:
        if not self.is_of(picture):
            found, recorded = hashlib.sha256(picture).hexdigest(), self.row["source_sha256"]
            raise ConfigError(
                f"the picture is not the row's source: its sha256 is {found[:8]}…, source_sha256 "
                f"is {recorded[:8]}…: {reason}"
            )

    def _stored(self) -> bytes:
        if self.image is None:
            raise MismatchError("there is no image next to the row to compare it with")
        if hashlib.sha256(self.image).hexdigest() != self.row["output_sha256"]:
            raise MismatchError("the image next to the row is not that of its output_sha256")
        return self.image


def read_record(path: Path) -> Record:
    """Read a row and its recipe from a JSON file.

    Raises:
        ConfigError: it cannot be read, or what it holds is no such thing; the text says what is
            missing or wrong.
    """
    found = _object(_json(path), str(path))
    if "row" not in found and "sample_id" in found:
        raise ConfigError(f"{path} holds a row alone, without its recipe: give {_FORM}")
    missing = [name for name in ("row", "recipe") if name not in found]
    if missing:
        raise ConfigError(f"{path} has no {' and no '.join(missing)}: give {_FORM}")
    row = _row(_object(found["row"], f"{path}: row"), path)
    recipe = _object(found["recipe"], f"{path}: recipe")
    environment = _object(found.get("environment", _environment(row)), f"{path}: environment")
    _object(environment.get("versions"), f"{path}: environment.versions")
    part = PartRecord({"recipe": recipe, "environment": environment}, f"{path}: recipe")
    try:
        return Record(row, part, _image(found))
    except ValueError as error:
        raise ConfigError(f"{path}: image is not base64: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}): give {_FORM}") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = "nothing" if value is None else type(value).__name__
        raise ConfigError(f"{what} is not an object, but {kind}: give {_FORM}")
    return value


def _environment(row: Row) -> dict[str, Any]:
    """What a row alone records of where it was made; its recipe_digest covers the noise."""
    among = [name for name in CHANGES_PIXELS if f"{name}_version" in row]
    return {"noise": NOISE_VERSION, "versions": {name: row[f"{name}_version"] for name in among}}


def _image(found: Mapping[str, Any]) -> bytes | None:
    image = found.get("image")
    return None if image is None else base64.b64decode(str(image), validate=True)


def _row(given: Mapping[str, Any], path: Path) -> Row:
    """All columns of a row, those that it leaves out as null."""
    row = {name: _value(given.get(name), name, path) for name in COLUMNS}
    if row["status"] == "failed":
        raise ConfigError(f"{path}: the row is failed and has no image: {row['reason']}")
    missing = [name for name in _NEEDED if row[name] is None]
    if missing:
        raise ConfigError(f"{path}: the row has no {', '.join(missing)}: give {_FORM}")
    if row["log_snr"] is None:
        row["log_snr"] = -math.inf  # which JSON does not have: the copy began at pure noise
    return row


def _value(value: Any, name: str, path: Path) -> Any:
    """A column's value, of the column's type."""
    kind = COLUMNS[name][0]
    if value is None or _IS[kind](value):
        return float(value) if kind == "double" and value is not None else value
    if kind.startswith("int") and isinstance(value, float) and value.is_integer():
        return _value(int(value), name, path)  # pandas has such where a column has nulls
    raise ConfigError(f"{path}: the row's {name} is {str(value)[:40]!r}, not of type {kind}")


def _is_text(value: Any) -> bool:
    """Whether it is a text that a file's name and UTF-8 can hold."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)


def _is_whole(value: Any, bits: int) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


_IS: dict[str, Callable[[Any], bool]] = {
    "string": _is_text,
    "double": lambda value: isinstance(value, float) or _is_whole(value, 64),
    "int32": partial(_is_whole, bits=32),
    "int64": partial(_is_whole, bits=64),
}
