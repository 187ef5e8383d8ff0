"""What is planned of a sample: its source, each copy's edit, and how a result is finished."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError
from diffaug.pictures.colour import Transparency
from diffaug.pictures.fit import Loss
from diffaug.pictures.medium import IMAGE, Fitted, FittedPicture, Value
from diffaug.shards.reading import Label
from diffaug.shards.stream import Sample

__all__ = ["Draft", "Finish", "Source", "sample_id"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A picture, clip or text that copies are made of, and the parts of its sample that matter.

    Attributes:
        image: what the model sees of it: of a picture, mode L or RGB, upright (see
            `codec.picture`).
        stored: what its file stores, which identifies it; the same object unless a colour profile
            or transparency makes a difference.
        label: its class, which can condition the model.
        key: its webdataset key, which a prompt can name.
        transparency: how its copies are transparent; None: they are opaque.
        mask: of the picture's size, white where it may change; None: everywhere.
        jpeg: whether its file is a JPEG, which can decide how results are stored.
        sample: the members it was read from; None outside shards.
        defect: why nothing can be made of it, if that is known already.
    """

    image: Value
    stored: Value
    label: Label = field(default_factory=Label)
    key: str | None = None
    transparency: Transparency | None = None
    mask: Image.Image | None = None
    jpeg: bool = False
    sample: Sample | None = None
    defect: DefectError | None = None

    @property
    def fields(self) -> dict[str, int | str | None]:
        """What a prompt can name."""
        return {"label": self.label.number, "label_text": self.label.text, "key": self.key}


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """How a lane's result becomes a sample again: what is kept of a Draft while its Edit runs.

    Attributes:
        source: the picture that was edited.
        fit: how the result returns to the picture's size.
    """

    source: Source
    fit: Fitted[Value]

    def picture(self, x_0: NDArray[Any]) -> Value:
        """The result as a picture; outside the mask it is the source, unchanged.

        Raises:
            DefectError: the model gave values that are not finite.
        """
        mask = self.source.mask
        result = self.fit.from_model(x_0, mask)
        if mask is None:
            return result
        return cast(FittedPicture[Value], self.fit).keep(result, self.source.image, mask)

    def losses(self) -> tuple[Loss, ...]:
        """What the result loses of the source, since its detail is not kept."""
        return self.fit.losses(self.source.image)

    def seen(self) -> Value:
        """The source as the result should be compared with it."""
        return self.fit.seen(self.source.image)

    def shown(self, picture: Value) -> Value:
        """The result as it should be compared with the source."""
        return self.fit.shown(picture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One planned copy of a sample.

    Attributes:
        edit: what goes into the lanes: an `Edit`, or of a text a `Passage`.
        finish: how what comes out becomes a picture.
        sample_id: see the function of this name.
        copy: which copy.
        strength: in (0, 1].
        calls: of the network.
        t_start: the time to which it is noised, of the model's schedule; None of a text.
        log_snr: at that time, in nats; None of a text.
        prompt: what the text encoders are given; None without a prompt.
        to_label: the class that it is edited towards and is given, if the recipe has one so.
    """

    edit: Any
    finish: Finish
    sample_id: str
    copy: int
    strength: float
    calls: int
    t_start: int | None
    log_snr: float | None
    prompt: str | None
    to_label: int | None = None


def sample_id(
    recipe_digest: str,
    source: Source,
    pixels: str,
    copy: int,
    label: int | None,
    prompt: str | None,
    detail: str | None,
    lossy: bool = False,
) -> str:
    """The identity of a copy: a hash of everything that decides its pixels, except the machine.

    Args:
        recipe_digest: of recipe and weights, in hex.
        source: the picture; where the model sees another one than is stored, that counts, and so
            do its mask and, where detail is kept, its transparency.
        pixels: digest of the source's stored pixels, in hex.
        copy: which copy.
        label: the class that conditions it; None: none does.
        prompt: what the text encoders are given; None without a prompt.
        detail: the version of what keeps the picture's detail; None: the model makes all of it.
        lossy: whether the format `auto` stores it as a JPEG.
    """
    identity = [recipe_digest, pixels, str(copy)]
    identity += [str(given) for given in (label, prompt) if given is not None]
    found = hashlib.sha256("|".join(identity).encode()).hexdigest()[:32]
    more = [] if source.image is source.stored else [f"shown {IMAGE.digest(source.image)}"]
    more += [] if detail is None else [f"detail {detail}"]
    if detail is not None and (kept := source.transparency) is not None:
        more += [f"transparent {IMAGE.digest(kept.of(kept.colours))}"]
    more += ["format jpg"] if lossy else []
    more += [] if source.mask is None else [IMAGE.digest(source.mask)]
    for other in more:
        found = hashlib.sha256(f"{found}|{other}".encode()).hexdigest()[:32]
    return found
