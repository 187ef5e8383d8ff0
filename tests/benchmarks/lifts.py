"""What the lift makes of a model's change, beside plain enlargement, as tables in Markdown.

    python -m tests.benchmarks.lifts [SOURCE] [--model M]

SOURCE is a tar or a folder of photographs; by default those that come with scikit-image. For each
strength, means over the photographs, in levels of 255 where nothing else is said:

- change: how much the pixels change;
- halo: how far the change drifts between 2 and 8 pixels from a strong edge of the source, on sides
  that are flat in the source. A change that ends where the object does is as strong near its edge
  as further inside;
- gradient: the mean gradient of the results' lightness, as a fraction of the sources';
- finest: how much of the finest band (what a Gaussian of one pixel takes away) has changed, as a
  fraction of its amplitude in the sources;
- arrives: how much of the model's change, reduced to its size again, is in the result: its power
  as a fraction of the change's, without the means; for the lightness and for the two differences
  of colour; and of a random field of the same spectrum.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

import diffaug
from diffaug.pictures.codec import decode
from diffaug.pictures.medium import FittedPicture
from tests.support.blind_pairs import MOST_PIXELS, edits, files, phase_randomised
from tests.support.detail_sheet import photographs
from tests.support.kept import levels, steepness

Floats = NDArray[np.floating[Any]]

STRENGTHS = (0.2, 0.3, 0.4, 0.6)
STRONGEST = 0.02
"""The fraction of a picture's pixels that count as strong edges."""

FLAT = 10
"""The most by which a flat side differs between 4 and 8 pixels from the edge, in any channel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--model", default="cifar10-32")
    given = parser.parse_args()
    images = photographs()
    if given.source:
        images = [decode(data, MOST_PIXELS).shown for _, data in files(given.source)]
    images = [image.convert("RGB") for image in images]
    print("| strength | lift | change | halo | gradient | finest | arrives: lightness, colour |")
    print("| ---: | :--- | ---: | ---: | ---: | ---: | ---: |")
    random = np.random.default_rng(0)
    for strength in STRENGTHS:
        found: dict[str, list[list[float]]] = {"plain": [], "guided": [], "field, guided": []}
        recipe = diffaug.Recipe(model=given.model, strength=strength)
        for finish, x_0 in edits(images, recipe):
            source = levels(finish.source.image)
            before = cast(FittedPicture[Any], finish.fit).to_model(finish.source.image)
            change = x_0.clip(-1, 1) - before
            field = phase_randomised(change, random)
            plain = np.rint(source + enlarged(change * 127.5, finish.source.image.size))
            lifted, control = (levels(finish.picture(before + one)) for one in (change, field))
            results = (("plain", plain, change), ("guided", lifted, change))
            for name, result, one in (*results, ("field, guided", control, field)):
                found[name].append(measured(source, result.clip(0, 255), one * 127.5))
        for name, rows in found.items():
            change_, halo, steep, fine, *arrived = np.mean(rows, axis=0)
            light, colour = arrived[0] / arrived[1], arrived[2] / arrived[3]
            print(
                f"| {strength} | {name} | {change_:.1f} | {halo:.2f} | {steep:.3f} | {fine:.3f} "
                f"| {light:.2f}, {colour:.2f} |"
            )


def measured(source: Floats, result: Floats, change: Floats) -> list[float]:
    """The measures of one photograph; `arrives` as four powers.

    Args:
        source: levels (H, W, 3).
        result: likewise.
        change: the model's, in levels, (3, h, w).
    """
    apart = result - source
    reduced = np.stack([resized(band, change.shape[:0:-1]) for band in apart.transpose(2, 0, 1)])
    powers = []
    for one, other in zip(parts(reduced), parts(change), strict=True):
        powers += [float((one**2).sum()), float((other**2).sum())]
    finest = [x - gaussian_filter(x, (1, 1, 0)) for x in (source, apart)]
    return [
        float(np.abs(apart).mean()),
        halo(source, apart),
        steepness(result) / steepness(source),
        float(finest[1].std() / finest[0].std()),
        *powers,
    ]


def halo(source: Floats, change: Floats) -> float:
    """See the top of this file; both are levels (H, W, 3)."""
    down, across = np.gradient(gaussian_filter(source.mean(axis=2), 2))
    steep = np.hypot(down, across)
    y, x = np.nonzero(steep >= np.quantile(steep, 1 - STRONGEST))
    normal = np.stack([down[y, x], across[y, x]]) / steep[y, x]

    def at(picture: Floats, pixels: float) -> Floats:
        """A picture so far from each edge, (3, edges)."""
        place = [y + pixels * normal[0], x + pixels * normal[1]]
        bands = picture.transpose(2, 0, 1)
        return np.stack([map_coordinates(one, place, order=1, mode="nearest") for one in bands])

    found = []
    for side in (-1, 1):
        spread = np.ptp([at(source, by * side) for by in (4, 6, 8)], axis=0).max(axis=0)
        drift = np.abs(at(change, 2 * side) - at(change, 8 * side)).mean(axis=0)
        found.append(drift[spread <= FLAT])
    return float(np.concatenate(found).mean())


def parts(change: Floats) -> tuple[Floats, Floats]:
    """A change (3, H, W) as lightness and as two differences of colour, each without its mean."""
    light = np.tensordot((0.299, 0.587, 0.114), change, axes=1)[None]
    both = light, change[[0, 2]] - light
    return both[0] - both[0].mean(), both[1] - both[1].mean(axis=(1, 2), keepdims=True)


def enlarged(change: Floats, size: tuple[int, int]) -> Floats:
    """The plain lift: each channel of (3, h, w) enlarged by a bicubic filter, (H, W, 3)."""
    return np.stack([resized(band, size) for band in change], axis=-1)


def resized(plane: Floats, size: tuple[int, ...]) -> Floats:
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
