"""What an evaluation is about, images or texts, and the families of arms that each has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "CLEAN",
    "CORRUPTED",
    "DIFFUSION",
    "FIXED",
    "IMAGES",
    "IN_TURN",
    "SMALL",
    "TEXTS",
    "UNEQUAL",
    "Kind",
    "check_arm",
    "described",
]

CLEAN, CORRUPTED = "clean", "corrupted"
"""The kinds of test image: as they are, and the mean over all corruptions and severities."""

SMALL = ("cnn", "resnet")
"""The classifiers of images that are trained from scratch."""

DIFFUSION = ("reconstruct", "filtered", "one-step")
"""The families on trial."""

IN_TURN = "blur-noise-field"
"""One more control of images, which is there where all three that match an arm are."""

FIXED = ("fixed-trivial-augment", "fixed-jitter")
"""Changes that are made once: what a change owes to being drawn anew."""

UNEQUAL = ("class-balanced", "class-weighted", "balanced-softmax", "logit-adjusted")
"""What makes up for classes of unequal size without further images."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Images, or texts.

    Attributes:
        noun: what one is called.
        alike: how two are the same.
        baseline: the arm that all others are compared with.
        without: what that is, in a sentence.
        families: what each family of arms is; the last have one arm per strength.
        matched: the controls that take a chosen arm's copies as their measure.
        in_turn: the control that is all of these from copy to copy, where all of them are named;
            None: there is none.
        joined: the families that can be joined by `+`.
        unasked: families that are trained only if they are named.
        chosen_for: the kinds of test image that there are, for each of which an arm is chosen.
        classifiers: that it has and no other kind.
    """

    noun: str
    alike: str
    baseline: str
    without: str
    families: Mapping[str, str]
    matched: tuple[str, ...]
    in_turn: str | None
    joined: tuple[str, ...]
    unasked: tuple[str, ...]
    chosen_for: tuple[str, ...]
    classifiers: tuple[str, ...]

    @property
    def usual(self) -> tuple[str, ...]:
        """The families that are trained unless others are named."""
        return tuple(family for family in self.families if family not in self.unasked)


_OF_BOTH = {
    "real": "the labelled samples, unaugmented",
    "oversampled": "the batch's labelled samples again instead of augmented ones",
    "longer": "the baseline, for --longer times the steps",
    "class-balanced": "samples drawn so that every class comes as often",
    "class-weighted": "every sample weighs in the loss as much as its class is rare",
    "balanced-softmax": "the frequencies of the classes added to the logits in training (Ren et "
    "al. 2020)",
    "logit-adjusted": "the baseline, with the frequencies of the classes taken out of its logits "
    "when it is asked (Menon et al. 2021)",
}
_MADE = {
    "reconstruct": "noised part-way, then denoised by the recipe",
    "filtered": "the copies of reconstruct that the recipe's filters keep; if it has none, those "
    "that a classifier trained on the same labelled samples assigns to their class",
}

IMAGES = Kind(
    noun="image",
    alike="pixel for pixel",
    baseline="flips-crops",
    without="flips and crops",
    families={
        "real": _OF_BOTH["real"],
        "flips-crops": "flips and crops, which every other arm has too",
        "oversampled": _OF_BOTH["oversampled"],
        "trivial-augment": "one random operation of random strength per image (Müller & Hutter "
        "2021)",
        "jitter": "brightness, contrast, saturation and hue changed at random",
        "fixed-trivial-augment": "trivial-augment once for each of as many copies of an image as "
        "the diffusion model makes, instead of anew whenever an image is drawn",
        "fixed-jitter": "jitter in that way",
        **{name: _OF_BOTH[name] for name in ("longer", *UNEQUAL)},
        "mixup": "pairs of images and labels, mixed (Zhang et al. 2018)",
        "blur": "a blur whose PSNR is, copy for copy, as close as a blur can come to that of the "
        "arm chosen on validation images, for clean and for corrupted ones",
        "noise": "Gaussian noise of that PSNR",
        "field": "a random field with the spectrum and the PSNR of that arm's change, copy for "
        "copy",
        IN_TURN: "these three in turn, from copy to copy; without being named, where they are",
        **_MADE,
        "one-step": "noised part-way, then denoised in one network call",
    },
    matched=("blur", "noise", "field"),
    in_turn=IN_TURN,
    joined=("trivial-augment", "jitter", "mixup", *UNEQUAL, *DIFFUSION),
    unasked=(*FIXED, *UNEQUAL, "longer", IN_TURN),
    chosen_for=(CLEAN, CORRUPTED),
    classifiers=SMALL,
)

TEXTS = Kind(
    noun="text",
    alike="letter for letter",
    baseline="real",
    without="no augmentation",
    families={
        "real": _OF_BOTH["real"],
        "oversampled": _OF_BOTH["oversampled"],
        "deletion": "a tenth of the words left out, at random",
        "eda": "a tenth of the words replaced by synonyms, inserted as synonyms, swapped, or left "
        "out, whichever is drawn for a text (Wei & Zou 2019)",
        **{name: _OF_BOTH[name] for name in ("longer", *UNEQUAL)},
        "unigram": "the words that the arm chosen on validation texts changes, copy for copy, "
        "replaced by words drawn from all labelled texts (Xie et al. 2017)",
        **_MADE,
    },
    matched=("unigram",),
    in_turn=None,
    joined=("deletion", "eda", *UNEQUAL, "reconstruct", "filtered"),
    unasked=(*UNEQUAL, "longer"),
    chosen_for=(CLEAN,),
    classifiers=("bag",),
)

_KINDS = (IMAGES, TEXTS)


def described(family: str, kind: Kind) -> str:
    """What a family of arms is, in words: what is joined, in the order in which it is done."""
    parts = sorted(family.split("+"), key=lambda part: (part == "mixup", part not in DIFFUSION))
    words = (kind.families.get(part, f"{kind.noun}s made elsewhere") for part in parts)
    return ", then ".join(words)


def check_arm(name: str) -> None:
    """Check that an arm exists for images or texts.

    Raises:
        ValueError: it does not.
    """
    parts = name.split("+")
    for part in parts:
        if not any(part in kind.families for kind in _KINDS):
            every = dict.fromkeys(family for kind in _KINDS for family in kind.families)
            raise ValueError(f"arms: unknown {part!r}: use {', '.join(every)}")
    if len(parts) > 1 and not any(_fit(parts, kind) for kind in _KINDS):
        kind = TEXTS if set(parts) & (set(TEXTS.families) - set(IMAGES.families)) else IMAGES
        raise ValueError(
            f"arms: {name} cannot be joined: use {', '.join(kind.joined)}, each once, one of the "
            f"last {'two' if kind is TEXTS else 'three'} at most, and one of the four before them"
        )


def _fit(parts: list[str], kind: Kind) -> bool:
    """Whether families can be joined."""
    if not set(parts) <= set(kind.joined) or len(set(parts)) < len(parts):
        return False
    return all(len(set(parts) & set(one)) <= 1 for one in (DIFFUSION, UNEQUAL))
