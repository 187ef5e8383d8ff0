"""Pairs for blind reading: photographs beside what a model, or a random field, makes of them.

    python -m tests.support.blind_pairs SOURCE FOLDER [--model M] [--strength S] [--count N]

A smooth random change keeps every edge of a photograph, too. So each photograph is in FOLDER twice,
source on the left: with the model's change, and with a random field of the same spectrum that is
carried to it in the same way. The order is drawn, so that a reader who judges each pair as
"photograph" or "damaged" does not know which is which. FOLDER-key.csv does, with the size of each
change; who reads FOLDER must not see it.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import diffaug
from diffaug.editor import Draft, Finish, PictureEditor, Source
from diffaug.execution import Execution
from diffaug.extensions import is_picture
from diffaug.models import checkpoint_of, with_suggestions
from diffaug.pictures.codec import decode
from diffaug.pictures.medium import FittedPicture

__all__ = ["edits", "files", "phase_randomised"]

MOST_PIXELS = 1 << 24
GAP = 12

Levels = NDArray[np.float32]


def files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture in a tar, or at any depth below a folder, in order."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and is_picture(path.suffix[1:]):
                yield str(path.relative_to(source)), path.read_bytes()
        return
    with tarfile.open(source) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None and is_picture(member.name.rpartition(".")[2]):
                yield member.name, stream.read()


def edits(images: list[Image.Image], recipe: diffaug.Recipe) -> Iterator[tuple[Finish, Levels]]:
    """Each picture, and what the recipe's model makes of it at its own size, (C, H, W)."""
    checkpoint = checkpoint_of(recipe)
    execution = Execution.choose(batch_size=8)
    editor = PictureEditor(with_suggestions(recipe, checkpoint), checkpoint, execution)
    drafts = (next(editor.plan(Source(image=image, stored=image), [0])) for image in images)
    planned = ((draft.finish, draft.edit) for draft in drafts if isinstance(draft, Draft))
    for finish, x_0 in editor.steps().run(planned):
        assert x_0 is not None
        yield finish, x_0


def phase_randomised(change: Levels, random: np.random.Generator) -> Levels:
    """A random field with a change's spectrum, within each channel and between them.

    Every frequency of all channels is turned by one random phase, that of a field of real noise;
    the mean stays.

    Args:
        change: float32 (C, H, W).
        random: what the phases are drawn from.
    """
    turned = np.fft.fft2(random.standard_normal(change.shape[1:]))
    turned[0, 0] = 1
    found = np.fft.ifft2(np.fft.fft2(change) * turned / np.abs(turned))
    return found.real.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="a tar, or a folder of pictures")
    parser.add_argument("folder", type=Path, help="where the pairs go")
    parser.add_argument("--model", default="cifar10-32")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fields = {"model": given.model, "seed": given.seed}
    fields |= {} if given.strength is None else {"strength": given.strength}
    random = np.random.default_rng(given.seed)
    found = list(files(given.source))
    chosen = [found[n] for n in sorted(random.permutation(len(found))[: given.count])]
    images = [decode(data, MOST_PIXELS).shown for _, data in chosen]
    pairs = []
    finished = edits(images, diffaug.Recipe(**fields))
    for (name, _), (finish, x_0) in zip(chosen, finished, strict=True):
        before = cast(FittedPicture[Any], finish.fit).to_model(finish.source.image)
        change = x_0.clip(-1, 1) - before
        for kind, one in (("model", change), ("field", phase_randomised(change, random))):
            pairs.append((name, kind, finish.source.image, finish.picture(before + one)))
    given.folder.mkdir(parents=True)
    with Path(f"{given.folder}-key.csv").open("w", newline="") as stream:
        key = csv.writer(stream)
        key.writerow(["pair", "source", "change", "levels"])
        for number, place in enumerate(random.permutation(len(pairs))):
            name, kind, image, result = pairs[place]
            apart = np.asarray(result.convert("RGB"), float) - np.asarray(image.convert("RGB"))
            key.writerow([f"{number:03d}", name, kind, f"{np.abs(apart).mean():.1f}"])
            sheet = Image.new("RGB", (2 * image.width + GAP, image.height), "white")
            sheet.paste(image, (0, 0))
            sheet.paste(result, (image.width + GAP, 0))
            sheet.save(given.folder / f"{number:03d}.png")


if __name__ == "__main__":
    main()
