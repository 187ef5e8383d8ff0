"""Noisy pictures: denoised by one call before they are classified, or learned from with the noise?

    python -m tests.benchmarks.smoothed 'cifar10/train-{000000..000008}.tar' rest.tar \
        --test held-back.tar --model cifar10-32 --seeds 5 --results FOLDER

Test pictures are given Gaussian noise of 0.25 and 0.5 (of white less black), which is not clipped.
All ways have the same labels, all of the source or `--labels` a class, drawn anew for every seed,
and the model is told no class:

- plain: a classifier of clean pictures, given noisy ones;
- noise: a classifier trained with such noise, drawn anew for every picture of every batch;
- denoise, then plain: one call of the model, then the classifier of clean pictures ("denoised
  smoothing", Salman et al. 2020; Carlini et al. 2023, https://arxiv.org/abs/2206.10550);
- denoise, learned: one call, then a classifier that was trained on such results of the training
  pictures, of as many draws of noise each as `--copies` says;
- tv, then plain, and tv, learned: the same with total-variation denoising (Rudin et al. 1992,
  Chambolle 2004), as strong as comes nearest to clean training pictures.

FOLDER keeps what is made and each training as it ends; run again, it goes on. It ends with a table,
and with the differences of `denoise, learned` over seeds and over seeds and test pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from diffaug import storage
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.samplers import trajectory
from diffaug.evaluation.images.pictures import as_array, each_picture
from diffaug.evaluation.statistics import difference, over_images
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.evaluation.trials.variants import flips_and_crops
from diffaug.execution import Execution
from diffaug.models import checkpoint_of, load_model
from diffaug.recipe import Recipe

SIGMAS = (0.25, 0.5)
BATCH, RATE = 128, 0.004
WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
JUDGED, OTHERS = "denoise, learned", ("noise", "denoise, then plain", "tv, learned")

Images = NDArray[np.uint8]
"""(N, H, W, C)."""
Floats = NDArray[np.float32]
"""(N, H, W, C), of which 0 is black and 1 is white."""
Denoising = Callable[[Floats, float], Floats]
"""Takes noisy pictures and sigma, and denoises them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+")
    parser.add_argument("--test", required=True)
    parser.add_argument("--model", default="cifar10-32")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--labels", type=int, help="a class; all of the source if not given")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--images", type=int, help="of the source, to try it out")
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    train, targets = read(given.source, given.images)
    test, truth = read([given.test], given.images)
    ways = {
        "denoise": partial(denoised, Denoiser(given.model)),
        "tv": partial(smoothed, weight_for(train[:: max(1, len(train) // 100)])),
    }
    for seed in range(given.seeds):
        chosen = slice(None) if given.labels is None else drawn(targets, given.labels, seed)
        for sigma in SIGMAS:
            setting = Ways(given.results, seed, sigma, given.steps, given.copies, ways)
            setting.run(train[chosen], targets[chosen], test, truth)
    report(given.results, given.seeds, len(test))


class Ways:
    """What is trained and asked for one seed and one sigma."""

    def __init__(
        self,
        results: Path,
        seed: int,
        sigma: float,
        steps: int,
        copies: int,
        ways: Mapping[str, Denoising],
    ) -> None:
        self._results, self._seed, self._sigma, self._steps = results, seed, sigma, steps
        self._number, self._ways = copies, ways

    def run(
        self, train: Images, targets: NDArray[np.int64], test: Images, truth: NDArray[np.int64]
    ) -> None:
        """Train what is missing, and keep what each was right about."""
        names = [f"{name}, {how}" for name in self._ways for how in ("then plain", "learned")]
        if all(self._hits(name).exists() for name in ("plain", "noise", *names)):
            return
        noisy = noised(test, self._sigma, (1, self._seed))
        plain = self._plain(train, targets)
        self._ask("plain", plain, noisy, truth)
        if not self._hits("noise").exists():
            given = Given(sigma=self._sigma)
            model = trained(train, targets, self._steps, self._seed, given)
            self._ask("noise", model, noisy, truth)
        for name, way in self._ways.items():
            if self._hits(f"{name}, learned").exists():
                continue
            cleaned = way(noisy, self._sigma)
            self._ask(f"{name}, then plain", plain, cleaned, truth)
            given = Given(self._copies(name, train))
            model = trained(train, targets, self._steps, self._seed, given)
            self._ask(f"{name}, learned", model, cleaned, truth)

    def _ask(self, name: str, model: nn.Module, seen: Floats, truth: NDArray[np.int64]) -> None:
        np.save(self._hits(name), predicted(model, seen) == truth)
        print(f"seed {self._seed}, {self._sigma}: {name}", flush=True)

    def _plain(self, train: Images, targets: NDArray[np.int64]) -> nn.Module:
        """The classifier of clean pictures, which all sigmas of a seed share."""
        path = self._results / f"plain-{self._seed}.pt"
        if path.exists():
            model = new_classifier("resnet", Task(3, 10, train.shape[1]), self._seed)
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.eval()
        model = trained(train, targets, self._steps, self._seed, Given())
        torch.save(model.state_dict(), path)
        return model

    def _copies(self, name: str, train: Images) -> Images:
        """Of each training picture, what a way makes of it in noise; the same for all seeds with
        the same pictures."""
        drawn = hashlib.sha256(train.tobytes()).hexdigest()[:8]
        path = self._results / f"{name}-{self._sigma}-{drawn}.npy"
        if not path.exists():
            made = np.empty((self._number, *train.shape), np.uint8)
            for copy in range(self._number):
                for begin in track(range(0, len(train), 2000), f"{name} {self._sigma}"):
                    part = slice(begin, begin + 2000)
                    noisy = noised(train[part], self._sigma, (2, copy, begin))
                    made[copy, part] = as_bytes(self._ways[name](noisy, self._sigma))
            np.save(path, made)
        copies: Images = np.load(path, mmap_mode="r")
        return copies

    def _hits(self, name: str) -> Path:
        return self._results / f"{name.replace(', ', '-')}-{self._sigma}-{self._seed}.npy"


def read(sources: list[str], most: int | None) -> tuple[Images, NDArray[np.int64]]:
    """Pictures and their classes."""
    images, labels = [], []
    for picture in each_picture(storage.expand(sources), Recipe()):
        images.append(as_array(picture.image, "RGB"))
        labels.append(picture.label)
        if len(labels) == most:
            break
    return np.stack(images), np.array(labels, dtype=np.int64)


def drawn(targets: NDArray[np.int64], labels: int, seed: int) -> NDArray[np.int64]:
    """The places of so many pictures of each class."""
    random = np.random.default_rng((4, seed))
    classes = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    return np.sort(np.concatenate([random.choice(one, labels, replace=False) for one in classes]))


def noised(images: Images, sigma: float, seed: tuple[int, ...]) -> Floats:
    return noised_by(images, sigma, np.random.default_rng(seed))


def noised_by(images: Images, sigma: float, random: np.random.Generator) -> Floats:
    """Pictures in noise, which may leave [0, 1]."""
    x = images.astype(np.float32) / np.float32(255)
    if sigma:
        x += np.float32(sigma) * random.standard_normal(images.shape, np.float32)
    return x


class Denoiser:
    """A model, called once at the time at which its process has as much noise for its signal."""

    def __init__(self, name: str) -> None:
        checkpoint = checkpoint_of(Recipe(model=name))
        self._model = load_model(checkpoint, Execution.choose(32, None, "cpu"))

    def __call__(self, noisy: Floats, sigma: float) -> Floats:
        model, schedule = self._model, self._model.denoiser.schedule
        ratios = schedule.sigma_t / schedule.alpha_t
        time = int(np.abs(np.asarray(ratios) - 2 * sigma).argmin())  # models see [-1, 1]
        way = trajectory("one-step", schedule, (time,))
        condition, made = model.condition(None, None), np.empty_like(noisy)
        still = np.zeros((1, *model.denoiser.shape), np.float32)

        def edits() -> Iterator[tuple[int, Edit]]:
            for place, image in enumerate(noisy):
                # all of the noise is in the picture already
                x = (2 * image - 1).transpose(2, 0, 1)
                yield place, Edit(x_0=x, noise=still, trajectory=way, condition=condition)

        for place, x_0 in model.steps(32).run(edits()):
            assert x_0 is not None
            made[place] = (x_0.transpose(1, 2, 0) + 1) / 2
        return made


def denoised(model: Denoiser, noisy: Floats, sigma: float) -> Floats:
    made: Floats = np.clip(model(noisy, sigma), 0, 1)
    return made


def smoothed(weights: dict[float, float], noisy: Floats, sigma: float) -> Floats:
    made: Floats = np.stack([total_variation(image, weights[sigma]) for image in noisy])
    return made


def total_variation(image: Floats, weight: float) -> Floats:
    from skimage.restoration import denoise_tv_chambolle

    found = denoise_tv_chambolle(image, weight, channel_axis=-1, max_num_iter=50)
    made: Floats = np.clip(found, 0, 1).astype(np.float32)
    return made


def weight_for(images: Images) -> dict[float, float]:
    """How strong total-variation denoising is to be for each sigma, on these clean pictures."""
    found = {}
    for sigma in SIGMAS:
        noisy = noised(images, sigma, (3,))
        errors = {
            weight: float(
                np.mean([
                    np.square(total_variation(one, weight) - image / 255).mean()
                    for one, image in zip(noisy, images, strict=True)
                ])
            )
            for weight in WEIGHTS
        }  # fmt: skip
        found[sigma] = min(errors, key=errors.__getitem__)
    print("total variation:", found, flush=True)
    return found


def as_bytes(images: Floats) -> Images:
    return np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Given:
    """What a classifier is given to learn from.

    Attributes:
        copies: (K, N, H, W, C), of which it is given one of each picture; None: the pictures.
        sigma: of the noise that is added anew to what it is given.
    """

    copies: Images | None = None
    sigma: float = 0.0

    def drawn(
        self, train: Images, places: NDArray[np.int64], random: np.random.Generator
    ) -> Images:
        if self.copies is None:
            return train[places]
        return self.copies[random.integers(len(self.copies), size=len(places)), places]


def trained(
    train: Images, targets: NDArray[np.int64], steps: int, seed: int, given: Given
) -> nn.Module:
    """A classifier, trained with AdamW and a one-cycle learning rate, with flips and crops."""
    random = np.random.default_rng(seed)
    model = new_classifier("resnet", Task(3, 10, train.shape[1]), seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train()
    torch.manual_seed(seed)
    for _ in track(range(steps), "training"):
        places = random.choice(len(train), min(BATCH, len(train)), replace=False)
        moved = flips_and_crops(given.drawn(train, places, random), random)
        x = noised_by(moved, given.sigma, random)
        loss = nn.functional.cross_entropy(logits(model, x), torch.from_numpy(targets[places]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cycle.step()
    return model.eval()


def logits(model: nn.Module, images: Floats) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    bfloat16 = Execution.choose(device="cpu").dtype == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found: torch.Tensor = model(x)
    return found.float()


def predicted(model: nn.Module, images: Floats) -> NDArray[np.int64]:
    with torch.inference_mode():
        parts = [logits(model, images[n : n + BATCH]) for n in range(0, len(images), BATCH)]
    return torch.cat(parts).argmax(dim=1).numpy()


def report(results: Path, seeds: int, images: int) -> None:
    """Print the table, and write figures.json."""
    figures: dict[str, dict[str, list[float]]] = {}
    for sigma in SIGMAS:
        names = ("plain", "noise", "denoise, then plain", "denoise, learned")
        hits = {
            name: np.stack([
                np.load(results / f"{name.replace(', ', '-')}-{sigma}-{seed}.npy")
                for seed in range(seeds)
            ]).astype(float)
            for name in (*names, "tv, then plain", "tv, learned")
        }  # fmt: skip
        figures[str(sigma)] = {
            name: [100 * float(one.mean()) for one in found] for name, found in hits.items()
        }
        print(f"\nsigma {sigma}, {seeds} seeds, {images} test pictures")
        for name, found in hits.items():
            print(f"  {name:20} {100 * found.mean():.1f}")
        for other in OTHERS if seeds > 1 else ():
            ours, theirs = hits[JUDGED], hits[other]
            by_seed = difference(100 * ours.mean(axis=1), 100 * theirs.mean(axis=1))
            print(f"  {JUDGED} - {other}: {by_seed}, images too: {over_images(ours, theirs)}")
    (results / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
