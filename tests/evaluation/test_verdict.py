"""The verdict of an evaluation on known numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm, arms_of, matched_arms
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.scores import MEASURES, per_seed
from diffaug.evaluation.trials.seen import Seen
from diffaug.evaluation.verdict.evidence import weigh
from diffaug.evaluation.verdict.judge import Verdict, judge
from diffaug.evaluation.verdict.leakage import leakage, transfer
from diffaug.evaluation.verdict.plots import draw_plots
from diffaug.evaluation.verdict.summary import summary_table

SETTINGS = Evaluation(
    arms=("mixup", "blur", "noise", "field", "reconstruct"),
    strengths=(0.3, 0.6),
    labels=(20,),
    seeds=6,
)
ARMS = [*arms_of(SETTINGS), *matched_arms(SETTINGS)]


def scored(**means: float) -> pd.DataFrame:
    """Scores of six seeds about these means by arm; with `v_` before it, on validation images.

    Controls that are not named are at 70.
    """
    random, rows = np.random.default_rng(0), []
    shared = random.normal(0, 2, 6)
    for arm in ARMS:
        key = arm.name.replace(" ", "_").replace("-", "_").replace(".", "")
        for seed in range(6):
            test = means.get(key, 70)
            for split, mean in (("test", test), ("validation", means.get(f"v_{key}", test))):
                for corruption, severity in (("clean", 0), ("blur", 1), ("blur", 3)):
                    accuracy = mean + shared[seed] + random.normal(0, 0.1) - 5 * severity
                    rows.append((arm.name, 20, seed, split, corruption, severity, accuracy, 20.0))
    columns = ["arm", "labels", "seed", "split", "corruption", "severity", "accuracy", "psnr"]
    unknown = dict.fromkeys(MEASURES, np.nan)
    return pd.DataFrame(rows, columns=columns).assign(seconds=4.0, **unknown)


def verdict_on(scores: pd.DataFrame, arms: list[Arm], of: str) -> Verdict:
    """As the only one of an evaluation."""
    evidence = weigh(scores, arms, 20, of)
    assert evidence is not None
    (verdict,) = judge([evidence])
    return verdict


@pytest.mark.parametrize(
    ("means", "word", "said"),
    [
        (
            {"mixup": 71, "reconstruct_03": 71, "reconstruct_06": 75},
            "helps",
            "relative to mixup, the closest control",
        ),
        ({"reconstruct_03": 66, "reconstruct_06": 65}, "hurts", "-4."),
        (
            {"reconstruct_03": 70, "reconstruct_06": 69},
            "no more than 1",
            "a gain above 1 point is ruled out.",
        ),
        (
            {"blur_for_clean": 75, "field_for_corrupted": 75, "reconstruct_03": 71}
            | {"reconstruct_06": 75},
            "no evidence",
            "a control may do as well: the difference to ",
        ),
    ],
)
def test_a_verdict_is_what_the_numbers_say(means: dict[str, float], word: str, said: str) -> None:
    for of in ("clean", "corrupted"):
        verdict = verdict_on(scored(**means), ARMS, of)
        assert verdict.word == word
        assert said in verdict.sentence
        assert f"20 labels per class, {of} images: {word}." in verdict.sentence


def test_the_strength_is_chosen_on_validation_images_alone() -> None:
    scores = scored(reconstruct_03=64, reconstruct_06=80, v_reconstruct_03=90)
    verdict = verdict_on(scores, ARMS, "clean")
    assert (verdict.arm, verdict.strength, verdict.word) == ("reconstruct 0.3", 0.3, "hurts")
    assert verdict.runner_up == "reconstruct 0.6"
    assert verdict.lead is not None
    assert verdict.lead.mean == pytest.approx(10, abs=0.5)


def test_differences_are_paired_and_corrected() -> None:
    from scipy import stats

    scores = scored(mixup=71, reconstruct_03=70.5, reconstruct_06=72)
    table = summary_table(scores, ARMS)
    values = per_seed(scores, 20, "test", "corrupted")
    test = stats.ttest_rel(values["mixup"], values["flips-crops"])
    interval = test.confidence_interval(1 - 0.05 / 11)  # eleven arms in addition to the baseline
    row = table[(table["of"] == "corrupted") & (table["arm"] == "mixup")].iloc[0]
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((interval.low, interval.high))
    of_mixup = scores[(scores["arm"] == "mixup") & (scores["split"] == "test")]
    corrupted = of_mixup[of_mixup["corruption"] != "clean"]
    assert row["accuracy"] == pytest.approx(corrupted["accuracy"].mean())


def test_an_arm_costs_its_training_and_its_images() -> None:
    scores = scored()
    scores.loc[scores["arm"] == "mixup", "seconds"] = 10.0
    scores.loc[scores["arm"] == "blur for corrupted", "seconds"] = 0.0  # that of the other blur
    table = summary_table(scores, ARMS, making={"reconstruct 0.6": 12.0}).set_index("arm")
    costs = table[table["of"] == "clean"]["cost"]
    assert (costs["mixup"], costs["reconstruct 0.3"], costs["reconstruct 0.6"]) == (2.5, 1.0, 4.0)
    assert np.isnan(costs["blur for corrupted"])


def test_nothing_on_trial_has_no_verdict() -> None:
    arms = [Arm("flips-crops"), Arm("mixup")]
    assert weigh(scored(), arms, 20, "clean") is None
    assert judge([]) == []
    assert matched_arms(Evaluation(arms=("mixup", "blur"))) == []


def test_without_matched_controls_nothing_helps() -> None:
    arms = arms_of(SETTINGS)
    verdict = verdict_on(scored(reconstruct_03=90), arms, "clean")
    assert (verdict.word, verdict.gain.low > 0) == ("no evidence", True)
    assert (
        "blur of its PSNR, noise of its PSNR and field of its PSNR were not tried"
        in verdict.sentence
    )


def test_where_nothing_differs_it_seldom_helps() -> None:
    """Two hundred evaluations in which no arm differs from another but by chance."""
    random, words, scores = np.random.default_rng(0), list[str](), scored()
    for _ in range(200):
        accuracy = scores["accuracy"] + random.normal(0, 1, len(scores))
        words.append(verdict_on(scores.assign(accuracy=accuracy), ARMS, "clean").word)
    assert words.count("helps") <= 2


def test_a_difference_among_many_may_be_by_chance() -> None:
    """Holm: of eight verdicts, one that would stand alone does not."""
    evidence = weigh(scored(reconstruct_03=72), ARMS, 20, "clean")
    assert evidence is not None
    sure, chance = replace(evidence, better=1e-6), replace(evidence, better=0.02)
    assert judge([chance])[0].word == "helps"
    words = [
        verdict.word for verdict in judge([sure, chance, *[replace(evidence, better=1.0)] * 6])
    ]
    assert words == ["helps", *["no evidence"] * 7]
    said = judge([sure, *[chance] * 7])[1].sentence
    assert "but that is not enough once corrected for 8 verdicts." in said


def test_what_so_few_seeds_cannot_show_is_said() -> None:
    scores = scored(reconstruct_03=70)
    random = np.random.default_rng(1)
    noisy = scores.assign(accuracy=scores["accuracy"] + random.normal(0, 3, len(scores)))
    verdict = verdict_on(noisy, ARMS, "clean")
    assert verdict.word == "no evidence"
    assert f"would mostly have shown one of {verdict.visible:.2g} points" in verdict.sentence


def test_what_is_joined_must_beat_the_rest_of_it_alone() -> None:
    joined = Arm("jitter+reconstruct", 0.3)
    arms = [Arm("flips-crops"), *ARMS[-8:], joined]
    scores = scored(reconstruct_03=90)
    scores["arm"] = scores["arm"].replace("reconstruct 0.3", joined.name)
    verdict = verdict_on(scores, arms, "clean")
    assert verdict.word == "no evidence"
    assert "but jitter alone was not tried" in verdict.sentence
    scores["arm"] = scores["arm"].replace("mixup", "jitter")
    assert verdict_on(scores, [*arms, Arm("jitter")], "clean").word == "helps"


def test_a_gain_by_labels_that_others_never_had_is_called_that() -> None:
    said = transfer("classes", "label", 48000)
    assert said == "by what the model learned from 48000 labels of these classes"
    assert transfer("classes", "label", 0).endswith("from other labels of these classes")
    for saw, condition in ((None, "label"), ("classes", "none"), ("labelled", "label")):
        assert transfer(saw, condition, 48000) == ""
    good, bad = (
        weigh(scored(reconstruct_03=mean, reconstruct_06=mean), ARMS, 20, "clean")
        for mean in (80, 60)
    )
    assert good is not None
    assert bad is not None
    helps, hurts, elsewhere = (
        *judge([good, bad], transfer=said),
        *judge([replace(good, strength=None)], transfer=said),
    )
    assert f"clean images: helps, {said}. reconstruct 0." in helps.sentence
    assert (helps.word, helps.transfer) == ("helps", said)
    assert (hurts.word, hurts.transfer) == ("hurts", "")
    assert (elsewhere.word, elsewhere.transfer) == ("helps", "")


def test_where_nothing_is_made_nothing_leaks() -> None:
    assert leakage(None, "label", True, []) == ("Leakage: none. The diffusion model made no image.")


def test_one_arm_alone_is_a_table_too(tmp_path: Path) -> None:
    """And no plot: there is nothing to compare it with."""
    summary = summary_table(scored(), [Arm("flips-crops")])
    assert summary["gain"].tolist() == [0] * len(summary)
    assert draw_plots(summary, tmp_path) == []


def test_other_test_images_might_say_otherwise() -> None:
    """All seeds agree, and all by the same few images."""
    scores, right = scored(reconstruct_03=73), dict[str, NDArray[np.float64]]()
    for arm in ARMS:
        right[arm.name] = np.zeros((6, 200))
    right["reconstruct 0.3"][:, :6] = 1
    right["flips-crops"][:, 6:9] = 1
    evidence = weigh(scores, ARMS, 20, "clean", seen=Seen(right, np.ones(200)))
    assert evidence is not None
    (verdict,) = judge([evidence])
    assert verdict.word == "no evidence"
    assert "with other test images it might be otherwise" in verdict.sentence


@pytest.mark.parametrize(
    ("saw", "condition", "one_set", "judges", "said"),
    [
        ("labelled", "label", True, [], "Leakage: none known"),
        ("labelled", "label", False, [], "has seen images that some classifiers were not given"),
        (
            "labelled",
            "none",
            True,
            ["label=folder"],
            "which may know classes that no arm was given",
        ),
        ("labelled", "none", True, ["phash"], "Leakage: none known"),
        ("images", "label", True, [], "without their classes, which the other arms never saw"),
        ("classes", "none", True, [], "with their classes, which the other arms never saw"),
        ("classes", "label", True, [], "its gains are not comparable"),
        ("unknown", "none", True, [], "It is not known what"),
    ],
)
def test_leakage_is_named(
    saw: str, condition: str, one_set: bool, judges: list[str], said: str
) -> None:
    sentence = leakage(saw, condition, one_set, judges)
    assert sentence.startswith("Leakage: ")
    assert said in sentence
    assert ("none known" in sentence) == ("none known" in said)
