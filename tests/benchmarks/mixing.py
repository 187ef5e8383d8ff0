"""What mixing costs beside the plain webdataset loader: `python -m tests.benchmarks.mixing`.

All arms make the same number of RGB pictures and classes in one process, without workers, and are
timed by the seconds of processor that takes, which other work on the machine changes least:

(real)    `wds.WebDataset(...).shuffle(1000).decode("pil").to_tuple("png", "cls")` over the real
          shards alone, which hold nothing else.
(both)    the same over the real shards and the OUTPUT's tars, whose lineage it decodes too.
(mixed)   `diffaug.AugmentedDataset(output, real=…, p=0.5)`.
(where)   the same, with a query that about half the augmented images satisfy.
(soft)    the same as (mixed), with soft labels.

The arms take turns in one process, in alternating order, after a round that is not measured. A
ratio is that of rates, the median of the rounds' own; above 1, diffaug is the faster. A round is an
epoch of five times as many images as lie in the real shards, begun anew: what is read into the
buffers of diffaug's two sides and not used counts, and so does reading the manifest. The augmented
images are made by a job, at one call an image. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import webdataset as wds
from PIL import Image

import diffaug
from tests.support.hostile import encoded, fashion, write_samples
from tests.support.jobs import augmented

Arm = Callable[[], Iterable[Any]]

_SHARDS = 4
_PASSES = 5


def main() -> None:
    asked = _arguments()
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="diffaug-bench-") as name:
        for kind, (size, count) in _kinds(asked.images).items():
            arms = _arms(Path(name, kind), size, count)
            found[kind] = measure(arms, _PASSES * count, asked.rounds)
    ratios = {
        f"{arm}_over_{plain}_{kind}": [a / b for a, b in zip(rates[arm], rates[plain], strict=True)]
        for kind, rates in found.items()
        for plain in ("real", "both")
        for arm in ("mixed", "where", "soft")
    }
    for kind, rates in found.items():
        for arm, values in rates.items():
            print(f"{kind:5} {arm:6} {median(values):9.0f} images a second of processor")
    for ratio, values in ratios.items():
        print(f"{ratio:24} {median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    print(json.dumps({ratio: round(median(values), 4) for ratio, values in ratios.items()}))


def measure(arms: dict[str, Arm], count: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of processor, of every arm in every round."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name in list(arms) if number % 2 else reversed(arms):
            started = time.process_time()
            made = sum(1 for _ in islice(arms[name](), count))
            seconds = time.process_time() - started
            assert made == count
            if number:
                found[name].append(made / seconds)
    return found


def _kinds(images: int) -> dict[str, tuple[int, int]]:
    """Side of the pictures, and how many."""
    return {"28": (28, images), "64": (64, images), "224": (224, max(200, images // 5))}


def _arms(folder: Path, size: int, count: int) -> dict[str, Arm]:
    """Real shards and an OUTPUT of as many pictures, and who reads them."""
    pictures = [_picture(sample, size) for sample in fashion(120)]
    each = count // _SHARDS
    real = [
        str(
            write_samples(
                folder / f"in/{shard}.tar",
                [
                    pictures[index % len(pictures)] | {"__key__": b"%06d" % index}
                    for index in range(shard * each, (shard + 1) * each)
                ],
            )
        )
        for shard in range(_SHARDS)
    ]
    output = str(folder / "out")
    rows = augmented(real, output, sampler="one-step", strength=0.3, batch_size=32)
    tars = [f"{output}/{tar}" for tar in pd.unique(rows["output_shard"])]
    where = f"score_ssim > {rows['score_ssim'].median()}"

    def plain(urls: list[str]) -> Iterable[Any]:
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        dataset = wds.WebDataset(urls, shardshuffle=100).shuffle(1000)
        return dataset.decode("pil").to_tuple("png", "cls").repeat()  # type: ignore[no-any-return]

    def mixed(**options: Any) -> Iterable[Any]:
        return diffaug.AugmentedDataset(
            output, real=real, p=0.5, samples=_PASSES * count, **options
        )

    return {
        "real": lambda: plain(real),
        "both": lambda: plain([*real, *tars]),
        "mixed": mixed,
        "where": lambda: mixed(where=where),
        "soft": lambda: mixed(soft_labels=10),
    }


def _picture(sample: dict[str, bytes], size: int) -> dict[str, bytes]:
    """A fixture's picture, as it is or in colour at another size."""
    image: Image.Image = Image.open(io.BytesIO(sample["png"]))
    if size != image.width:
        grain = Image.effect_noise((size, size), 12)
        large = Image.blend(image.resize((size, size), Image.Resampling.BICUBIC), grain, 0.3)
        image = Image.merge("RGB", [large, large.rotate(90), large.rotate(180)])
    return {"png": encoded(image, "PNG", compress_level=1), "cls": sample["cls"]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=2000, help="in the real shards; at 224 pixels a fifth of it"
    )
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
