"""How large a gain the published evaluations leave possible: the table of docs/evaluation.md.

    python -m tests.benchmarks.ruled_out

For each setting, the arm that was chosen on validation images, on the test images: its difference
to flips and crops, and to the control to which it can be said to gain least: the control whose
interval ends lowest, intervals being corrected for the number of controls. What lies above its end
is ruled out, over seeds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.evaluation.statistics import difference

EVALUATIONS = Path(__file__).resolve().parents[2] / "docs/evaluations"
BASELINE = "flips-crops"
MADE = ("reconstruct", "filtered", "one-step", "sampled")
SETTINGS = (
    ("fashion-mnist", 20, "reconstruct 0.3", "one-step 0.6"),
    ("fashion-mnist", 50, "reconstruct 0.3", "one-step 0.6"),
    ("fashion-mnist", 100, "reconstruct 0.3", "one-step 0.6"),
    ("fashion-mnist-one-call-again", 50, "reconstruct 0.3", "trivial-augment+one-step 0.6"),
    ("fashion-mnist-half-labelled", 50, "filtered 0.5", "one-step 0.4"),
    ("cifar10", 50, "reconstruct 0.2", "one-step 0.6"),
    ("cifar10-250", 250, "reconstruct 0.3", "jitter+reconstruct 0.3"),
    ("clothes-20", 20, "jitter+reconstruct 0.3", "jitter+reconstruct 0.3"),
    ("clothes-50", 50, "jitter+reconstruct 0.3", "jitter+reconstruct 0.3"),
    ("cifar10-long-tail", 0, *2 * ("class-balanced+jitter+reconstruct 0.8",)),
    ("moving-clothes", 20, "trivial-augment+reconstruct 0.2", "trivial-augment+reconstruct 0.2"),
    ("cifar10-transfer", 50, "trivial-augment+reconstruct 0.9", "trivial-augment+reconstruct 0.9"),
    ("cifar10-told-20", 20, "jitter+reconstruct 0.9", "jitter+reconstruct 0.9"),
    ("cifar10-told", 50, "jitter+reconstruct 0.9", "jitter+reconstruct 0.3"),
    ("cifar10-told-250", 250, "reconstruct 0.6", "jitter+reconstruct 0.6"),
)
"""Folder, labels a class, and the arms chosen for clean and for corrupted images."""


def main() -> None:
    print("| evaluation | seeds | on | chosen | to flips and crops | control | to it | ruled out |")
    print("| :--- | ---: | :--- | :--- | ---: | :--- | ---: | ---: |")
    for folder, labels, *chosen in SETTINGS:
        for on, arm in zip(("clean", "corrupted"), chosen, strict=True):
            found = scores(folder, labels, on)
            control, bound = nearest(found, arm, on)
            cells = (
                f"{folder}, {labels}",
                str(len(found[arm])),
                on,
                arm,
                str(difference(found[arm], found[BASELINE])),
                control,
                str(difference(found[arm], found[control])),
                f"above {bound:.1f}" if bound > 0 else "any",
            )
            print("| " + " | ".join(cells) + " |")


def scores(folder: str, labels: int, on: str) -> dict[str, NDArray[np.float64]]:
    """The score of each arm on the test images, by seed; balanced where that was the measure."""
    table = pd.read_parquet(EVALUATIONS / folder / "scores.parquet")
    table["accuracy"] = 100 * table["right"] / table["images"]
    unequal = folder.startswith(("clothes", "cifar10-long-tail"))
    measure = "balanced" if unequal else "accuracy"
    test = table[(table["split"] == "test") & (table["labels"] == labels)]
    test = test[(test["corruption"] == "clean") == (on == "clean")]
    return {
        str(arm): rows.groupby("seed")[measure].mean().to_numpy()
        for arm, rows in test.groupby("arm")
    }


def nearest(found: dict[str, NDArray[np.float64]], arm: str, on: str) -> tuple[str, float]:
    """The control that rules out most, and where its interval ends."""
    controls = [
        name
        for name in found
        if not any(made in name for made in MADE)
        and (" for " not in name or name.endswith(f"for {on}"))
    ]
    ends = {
        name: difference(found[arm], found[name], comparisons=len(controls)).high
        for name in controls
    }
    control = min(ends, key=ends.__getitem__)
    return control, ends[control]


if __name__ == "__main__":
    main()
