"""What an evaluation says of numbers that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffaug.evaluation.arms import Arm, arms_of
from diffaug.evaluation.results import per_seed, summary_table
from diffaug.evaluation.settings import SAW, Evaluation
from diffaug.evaluation.verdict import judge, leakage

SETTINGS = Evaluation(
    arms=("flips-crops", "blur", "reconstruct"), strengths=(0.3, 0.6), labels=(20,), seeds=6
)
ARMS = arms_of(SETTINGS)


def scored(**means: float) -> pd.DataFrame:
    """Scores of six seeds about these means by arm; with `v_` before it, on validation images."""
    random, rows = np.random.default_rng(0), []
    shared = random.normal(0, 2, 6)
    for arm in ARMS:
        key = arm.name.replace(" ", "_").replace("-", "_").replace(".", "")
        for seed in range(6):
            for split, mean in (("test", means[key]), ("validation", means.get(f"v_{key}"))):
                for corruption, severity in (("clean", 0), ("blur", 1), ("blur", 3)):
                    about = means[key] if mean is None else mean
                    accuracy = about + shared[seed] + random.normal(0, 0.1) - 5 * severity
                    rows.append((arm.name, 20, seed, split, corruption, severity, accuracy))
    columns = ["arm", "labels", "seed", "split", "corruption", "severity", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize(
    ("means", "word", "said"),
    [
        ({"blur": 70, "reconstruct_03": 71, "reconstruct_06": 75}, "helps", "against blur"),
        ({"blur": 70, "reconstruct_03": 66, "reconstruct_06": 65}, "hurts", "-4."),
        ({"blur": 70, "reconstruct_03": 70, "reconstruct_06": 69}, "no evidence", "no difference"),
        (
            {"blur": 75, "reconstruct_03": 71, "reconstruct_06": 75},
            "no evidence",
            "a control that knows no diffusion does as well: against blur",
        ),
    ],
)
def test_a_verdict_is_what_the_numbers_say(means: dict[str, float], word: str, said: str) -> None:
    for of in ("clean", "corrupted"):
        verdict = judge(scored(flips_crops=70, **means), ARMS, 20, of)
        assert verdict is not None
        assert verdict.word == word
        assert said in verdict.sentence
        assert f"20 labels a class, {of} images: {word}." in verdict.sentence


def test_the_strength_is_chosen_on_validation_images_alone() -> None:
    scores = scored(
        flips_crops=70, blur=70, reconstruct_03=64, reconstruct_06=80, v_reconstruct_03=90
    )
    verdict = judge(scores, ARMS, 20, "clean")
    assert verdict is not None
    assert (verdict.arm, verdict.strength, verdict.word) == ("reconstruct 0.3", 0.3, "hurts")


def test_differences_are_paired_and_corrected() -> None:
    scores = scored(flips_crops=70, blur=71, reconstruct_03=70.5, reconstruct_06=72)
    table = summary_table(scores, ARMS)
    values = per_seed(scores, 20, "test", "corrupted")
    test = stats.ttest_rel(values["blur"], values["flips-crops"])
    interval = test.confidence_interval(1 - 0.05 / 3)  # three arms beside the baseline
    row = table[(table["of"] == "corrupted") & (table["arm"] == "blur")].iloc[0]
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((interval.low, interval.high))
    of_blur = scores[(scores["arm"] == "blur") & (scores["split"] == "test")]
    corrupted = of_blur[of_blur["corruption"] != "clean"]
    assert row["accuracy"] == pytest.approx(corrupted["accuracy"].mean())


def test_nothing_on_trial_has_no_verdict() -> None:
    arms = [Arm("flips-crops"), Arm("blur")]
    scores = scored(flips_crops=70, blur=75, reconstruct_03=71, reconstruct_06=75)
    assert judge(scores, arms, 20, "clean") is None


@pytest.mark.parametrize("saw", SAW)
def test_leakage_is_named(saw: str) -> None:
    said = leakage(saw, "label")
    assert said.startswith("Leakage: ")
    assert ("none but the labelled" in said) == (saw == "labelled")
    assert ("may come from there" in said) == (saw in ("unknown", "images"))
    assert ("not comparable" in said) == (saw == "classes")
    assert "not comparable" not in leakage(saw, "none")
