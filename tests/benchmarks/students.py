"""A student beside its teacher: rows, time, nearness to the exact result, label kept, diversity.

    python -m tests.benchmarks.students cifar10-32 cifar10-32-fast --guidance 3 \
        --test held-back.tar --train 'train-*.tar' --results students.json

All ways edit the same images from the same noise, told the class.

- PSNR in dB and SSIM of the first 32 images to the exact result, which is what 200 calls of the
  guided teacher make, in float32.
- Label kept: the share of edits that a classifier (`classifier.py`; for colours the residual
  network of `evaluate` after 3,000 steps), which has seen no edit, gives the class of their image.
  Two copies an image, in the dtype of a job here; the difference to the
  teacher's eight calls is paired by image.
- Diversity: root mean square difference between these two copies, over that of the teacher.
- Milliseconds an edit on this machine with one thread, rounds of all ways in turn.

Every figure is written to the results file as soon as it is known. Beside it: a picture of the
first image of each class, by teacher and student. The table stands in docs/samplers.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from diffaug import Recipe
from diffaug.editor import Draft, PictureEditor
from diffaug.evaluation.statistics import difference
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.pictures.grid import grid
from tests.benchmarks.card import Judge, Results, read_pictures
from tests.benchmarks.classifier import Images, Labels
from tests.benchmarks.samplers import closeness
from tests.benchmarks.smoothed import Given, noised, predicted, trained
from tests.support.drafts import draft_copies

STRENGTHS = (0.2, 0.3, 0.5)
EXACT, NEAR = 200, 32
COMPARED, MANY, FEW = 0.3, 2000, 200
"""How many images are edited twice: many by teacher and student at this strength, else few."""
ROUNDS, TIMED = 5, 64


TEACHER, STUDENTS = "teacher, 8 calls", ("student, 2 calls", "student, 1 call")


@dataclass(frozen=True)
class Way:
    """How an edit is made.

    Attributes:
        model: who makes it.
        calls: of the network.
        every: of how many calls the first is made with both conditions.
        sampler: which makes them.
    """

    model: str
    calls: int
    every: int = 1
    sampler: str = "dpmsolver++"

    def recipe(self, strength: float, guidance: float) -> Recipe:
        told: dict[str, Any] = {"condition": "label", "guidance": guidance}
        told |= {"model": self.model, "strength": strength}
        told |= {"steps": round(self.calls / strength), "sampler": self.sampler}
        return Recipe.of(told | {"guidance_every": self.every})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("teacher")
    parser.add_argument("student")
    parser.add_argument("--guidance", type=float, required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--results", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.guidance, *read_pictures(given.test, None))
    results = Results(given.results)
    judge = judge_of(given.train, given.results.with_suffix(".pt"), colour=bench.colour)
    results.once("classifier, %", bench.rightly(judge))
    ways = {
        TEACHER: Way(given.teacher, 8),
        "teacher, 8 calls, 4 with both conditions": Way(given.teacher, 8, 2),
        "teacher, 4 calls": Way(given.teacher, 4),
        "teacher, 2 calls": Way(given.teacher, 2),
        "teacher, 1 call": Way(given.teacher, 1),
        "student, 2 calls": Way(given.student, 2, sampler="ddim"),
        "student, 1 call": Way(given.student, 1, sampler="ddim"),
    }
    results.once("milliseconds", lambda: bench.timed(ways))
    for strength in STRENGTHS:
        missing = [name for name in ways if f"{name} near {strength}" not in results]
        exact = bench.near(Way(given.teacher, EXACT), strength) if missing else []
        for name, way in ways.items():
            near = partial(bench.nearness, way, strength, exact)
            results.once(f"{name} near {strength}", near)
            results.once(f"{name} rows {strength}", partial(bench.rows, way, strength))
    for strength in STRENGTHS:
        for name, way in ways.items():
            is_compared = strength == COMPARED and name in (TEACHER, *STUDENTS)
            paired = partial(bench.paired, way, strength, judge, MANY if is_compared else FEW)
            results.once(f"{name} paired {strength}", paired)
    bench.draw(ways, given.results.with_suffix(".png"))
    print(table(results, list(ways)))


Judging = Callable[[Images, Labels], NDArray[np.bool_]]
"""Which of the images a classifier gives their labels."""


def judge_of(train: list[str], path: Path, *, colour: bool) -> Judging:
    """A classifier, trained once and kept at `path`."""
    if not colour:
        return Judge(train, path).agrees
    if path.exists():
        model = new_classifier("resnet", Task(3, 10, 32), 0)
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        model = trained(*read_pictures(train, None), 3000, 0, Given())
        torch.save(model.state_dict(), path)
    model.eval()
    return lambda images, labels: predicted(model, noised(images, 0, (0,))) == labels


class Bench:
    """Test images, and what ways make of them.

    Args:
        guidance: the scale of all ways.
        images: (N, H, W[, 3]).
        labels: (N,).
    """

    def __init__(self, guidance: float, images: Images, labels: Labels) -> None:
        self._guidance, self._images, self._labels = guidance, images, labels
        self.colour = images.ndim == 4

    def rightly(self, judge: Judging) -> Callable[[], float]:
        """How many of the images themselves are given their labels, in percent."""
        return lambda: float(100 * judge(self._images, self._labels).mean())

    def near(self, way: Way, strength: float) -> list[NDArray[np.uint8]]:
        """The edits that are compared with the exact ones."""
        editor = self._editor(way, strength, "float32")
        return list(self._made(editor, NEAR, [0]))

    def nearness(self, way: Way, strength: float, exact: list[NDArray[np.uint8]]) -> str:
        return closeness(exact, self.near(way, strength))

    def rows(self, way: Way, strength: float) -> int:
        editor = self._editor(way, strength, "float32")
        (draft,) = self._drafts(editor, 1, [0])
        return int(draft.edit.rows)

    def paired(
        self, way: Way, strength: float, judge: Judging, most: int
    ) -> dict[str, list[float]]:
        """For each image: the share of its two edits that keep the label, and their distance."""
        count = min(most, len(self._images))
        made = np.stack([*self._made(self._editor(way, strength), count, [0, 1])])
        kept = judge(made, np.repeat(self._labels[:count], 2)).reshape(-1, 2).mean(axis=1)
        first, second = made[::2].astype(float), made[1::2].astype(float)
        apart = np.sqrt(np.square(first - second).reshape(count, -1).mean(axis=1))
        return {"kept": kept.tolist(), "apart": apart.tolist()}

    def timed(self, ways: dict[str, Way]) -> dict[str, list[float]]:
        """Milliseconds an edit at 0.3, of each round."""
        editors = {name: self._editor(way, 0.3) for name, way in ways.items()}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in track(range(ROUNDS), description="rounds"):
            for name, editor in editors.items():
                began = time.process_time()
                for _ in self._made(editor, TIMED, [0]):
                    pass
                found[name].append(1000 * (time.process_time() - began) / TIMED)
        return found

    def draw(self, ways: dict[str, Way], path: Path) -> None:
        """The first image of each class, a row each: itself, then each way at 0.3 and 0.5."""
        firsts = np.unique(self._labels, return_index=True)[1]
        chosen = Bench(self._guidance, self._images[firsts], self._labels[firsts])
        shown = [self._images[firsts]]
        captions = ["image"]
        for strength in (0.3, 0.5):
            for name, short in (("teacher, 8 calls", "8"), ("student, 2 calls", "2")):
                editor = chosen._editor(ways[name], strength, "float32")
                shown.append(np.stack([*chosen._made(editor, len(firsts), [0])]))
                captions.append(f"{short}: {strength}")
        rows = [np.atleast_3d(image) for row in zip(*shown, strict=True) for image in row]
        grid([to_model(image) for image in rows], len(captions), captions).save(path)

    def _editor(self, way: Way, strength: float, dtype: str | None = None) -> PictureEditor:
        recipe = way.recipe(strength, self._guidance)
        return PictureEditor(recipe, checkpoint_of(recipe), Execution.choose(32, dtype, "cpu"))

    def _drafts(self, editor: PictureEditor, count: int, copies: list[int]) -> Iterator[Draft]:
        for image, label in zip(self._images[:count], self._labels[:count], strict=True):
            picture = Image.fromarray(image)
            yield from draft_copies(editor, picture, {"label": int(label)}, copies)

    def _made(
        self, editor: PictureEditor, count: int, copies: list[int]
    ) -> Iterator[NDArray[np.uint8]]:
        drafts = ((draft, draft.edit) for draft in self._drafts(editor, count, copies))
        for draft, x_0 in editor.steps().run(drafts):
            assert x_0 is not None
            yield np.asarray(draft.finish.picture(x_0))


def to_model(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def table(results: Results, names: list[str]) -> str:
    """Everything as Markdown."""
    lines = []
    for strength in STRENGTHS:
        lines += [
            f"\nstrength {strength}:\n",
            "| | rows | ms | PSNR / SSIM | label kept, % | against 8 calls | diversity |",
            "| :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        first = results[f"{names[0]} paired {strength}"]
        for name in names:
            found = results[f"{name} paired {strength}"]
            count = min(len(found["kept"]), len(first["kept"]))
            kept, base = (100 * np.array(one["kept"])[:count] for one in (found, first))
            against = "" if name == names[0] else str(difference(kept, base))
            apart = np.mean(found["apart"][:count]) / np.mean(first["apart"][:count])
            ms = np.median(results["milliseconds"][name])
            cells = (
                results[f"{name} rows {strength}"],
                f"{ms:.1f}" if strength == 0.3 else "",
                results[f"{name} near {strength}"],
                f"{kept.mean():.1f} of {2 * count}",
                against,
                f"{apart:.2f}",
            )
            lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
