"""The manifest's columns, in the order rows have them: names, types and descriptions.

Names and types are in the bytes of every part; the descriptions are here and in the documentation
only, so that they can be improved.

After a change here, run `python manifests/write_readme.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ADDED", "COLUMNS", "JUDGED", "LONGEST_TEXT", "PICTURE_SCORES", "columns_of"]

LONGEST_TEXT = 1 << 16
"""How many bytes of a text member a row takes in."""

# name: (type, description)
COLUMNS: dict[str, tuple[str, str]] = {
    # who
    "sample_id": (
        "string",
        "hash of everything that decides the image's pixels, except the machine: recipe digest, "
        "source pixels as stored and copy and, where there is one, the conditioning class, the "
        "prompt, the mask, the version of what keeps detail, the transparency that is kept, that "
        "format=auto stores a JPEG, and the pixels that a profile or a background makes of the "
        "stored ones; "
        "null when the source could not be decoded",
    ),
    "copy": ("int32", "which copy of the source, from 0; null for a defect of the shard itself"),
    # from
    "source_shard": ("string", "URL of the source shard, without credentials"),
    "source_key": ("string", "webdataset key; null for a defect of the shard itself"),
    "source_member": ("string", "name of the image member"),
    "source_offset": (
        "int64",
        "where the member's data begins in the (uncompressed) tar, in bytes; for a defect of the "
        "shard itself, where reading stopped",
    ),
    "source_sha256": ("string", "of the image member's bytes"),
    "source_width": ("int32", "pixels, EXIF rotation applied"),
    "source_height": ("int32", "pixels, EXIF rotation applied"),
    "label": ("int64", "the class; null where the label member is not an integer"),
    "label_text": (
        "string",
        "the .txt member, or a label member that is not an integer; its first "
        f"{LONGEST_TEXT:,} bytes",
    ),
    # what
    "model": ("string", "the model as the recipe names it"),
    "model_revision": ("string", "commit on the hub; null for shipped and local models"),
    "model_digest": ("string", "sha256 over weights and configurations"),
    "recipe_digest": (
        "string",
        "sha256 over what changes an image, but for detail, which sample_id covers",
    ),
    "sampler": ("string", "ddim, ddpm, dpmsolver++, lcm or one-step"),
    "strength": ("double", "in (0, 1]; null where the copy could not be planned"),
    "t_start": ("int32", "time to which the image was noised; null where strength is"),
    "log_snr": ("double", "log of signal to noise power at t_start, in nats"),
    "steps": ("int32", "calls a whole trajectory would have"),
    "calls": (
        "int32",
        "calls made for this image, each of two network rows where guidance acts; null where "
        "strength is",
    ),
    "guidance": ("double", "guidance scale; null without guidance"),
    "condition": ("string", "none or label"),
    "prompt": ("string", "null without a prompt"),
    "seed": ("int64", "the recipe's seed"),
    "batch_size": ("int32", "lanes in the fixed batch shape"),
    "dtype": ("string", "number format in which the network computed"),
    "device": ("string", "device class, such as cpu/avx512_bf16"),
    "diffaug_version": ("string", "of the process that made the image"),
    "torch_version": ("string", "likewise"),
    "diffusers_version": ("string", "likewise"),
    "pillow_version": ("string", "likewise"),
    # out
    "output_shard": ("string", "path of the tar below OUTPUT; null when there is no image"),
    "output_key": ("string", "<source_key>-a<copy>, or in the layout paired <source_key>"),
    "output_member": ("string", "name of the image member"),
    "output_offset": ("int64", "where its data begins in the tar, in bytes"),
    "output_sha256": ("string", "of the member's bytes"),
    "output_pixel_sha256": ("string", "of mode, size and pixels, before encoding"),
    "output_width": ("int32", "pixels"),
    "output_height": ("int32", "pixels"),
    "output_bytes": ("int64", "size of the member"),
    # worth
    "score_ssim": (
        "double",
        "structural similarity to the source; null below 7 pixels, and for texts",
    ),
    "score_psnr": (
        "double",
        "peak signal-to-noise ratio to the source, in dB; inf when equal, null for texts",
    ),
    # verdict
    "status": ("string", "ok, filtered or failed"),
    "reason": ("string", "why it is not ok, a sentence; null when it is"),
    "reason_code": ("string", "why it is not ok, a word; null when it is"),
}

PICTURE_SCORES = ("score_ssim", "score_psnr")
"""The scores that every job has, and that are null for texts."""

# judge: {name: (type, description)}
JUDGED: dict[str, dict[str, tuple[str, str]]] = {
    "phash": {
        "score_phash_source": (
            "double",
            "bits, of 64, in which the perceptual hash differs from the source's",
        ),
        "score_phash_copies": (
            "double",
            "the smallest such distance to the copies of the same source with a lower number that "
            "have an image; 64, the largest possible, if there is no such copy",
        ),
    },
    "label": {
        "score_label": (
            "double",
            "1 where the classifier's first class is the copy's label, else 0; null where the "
            "sample has no integer label, where the classifier has no such class, or where its "
            "output is not finite",
        ),
        "score_label_confidence": (
            "double",
            "probability (softmax) that the classifier gives to the copy's label; null as "
            "score_label",
        ),
    },
    "clip": {
        "score_clip": (
            "double",
            "CLIP's cosine similarity of image and label_text; null without a text",
        ),
    },
    "meaning": {
        "score_meaning": (
            "double",
            "cosine similarity, in [-1, 1], of source and result as a sentence encoder embeds "
            "them; null where its output is not finite",
        ),
    },
    "fluency": {
        "score_fluency": (
            "double",
            "how likely the job's own model finds what was changed, in nats a token, never above "
            "0: each token of the result that differs from the source (by difflib) is hidden, it "
            "alone, and this is the mean of the logarithms of the probabilities that the model "
            "then gives those tokens; null where no token differs",
        ),
    },
}
"""The columns that a job adds for each judge that its recipe names."""

ADDED: dict[str, dict[str, tuple[str, str]]] = {
    "medium": {
        "medium": ("string", "clip or text"),
        "frames": ("int32", "frames of the source that are taken"),
        "fps": ("double", "frames a second of them, on average"),
        "noise_time": (
            "string",
            "what frames share of their noise: shared, independent or mixed:RHO",
        ),
        "output_frames": ("int32", "frames of the result"),
        "score_flicker": (
            "double",
            "energy of the differences of neighbouring frames, of the result over the source's; "
            "null where nothing moves in the source",
        ),
    },
    "text": {
        "medium": ("string", "clip or text"),
        "tokens": ("int32", "tokens of the source, by the model's tokenizer"),
        "output_tokens": ("int32", "tokens of the result"),
        "score_edit": (
            "double",
            "words inserted, deleted or replaced, over the words of the longer of source and "
            "result; signs count as words",
        ),
    },
    "to_class": {
        "to_label": (
            "int64",
            "the class that the copy was edited towards and is given; null where the copy could "
            "not be planned",
        ),
    },
    **JUDGED,
}
"""The columns that a job adds for its judges and the recipe's to_class, and one of clips for its
medium."""

_BEHIND = {
    "to_label": "condition",
    "medium": "copy",
    "frames": "source_height",
    "fps": "source_height",
    "noise_time": "log_snr",
    "output_frames": "output_height",
    "tokens": "source_height",
    "output_tokens": "output_height",
}
"""The column behind which an added one stands, unless it is a score."""


def columns_of(adding: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """The columns of a job, those that it adds beside their like.

    Args:
        adding: what of its recipe adds columns (see `ADDED`).
    """
    wanted = set(adding)
    behind: dict[str, dict[str, tuple[str, str]]] = {}
    for adds, own in ADDED.items():
        if adds in wanted:
            for name, what in own.items():
                behind.setdefault(_BEHIND.get(name, "score_psnr"), {})[name] = what
    found: dict[str, tuple[str, str]] = {}
    for name, what in COLUMNS.items():
        found |= {name: what} | behind.get(name, {})
    return found
