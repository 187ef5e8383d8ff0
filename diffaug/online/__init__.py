"""Augmenting outside a job: `augment` for images in memory, `Augment` and `Augmenter` in a loader,
and `RemoteAugmenter`, which has servers do it.

For the same picture, recipe and batch size, each returns what a job writes, pixel for pixel. If the
input is RGB and the model is greyscale, the result is widened to RGB; colour is never removed.
"""

from diffaug.online.call import augment
from diffaug.online.loader import Augment, Augmenter
from diffaug.online.remote import RemoteAugmenter

__all__ = ["Augment", "Augmenter", "RemoteAugmenter", "augment"]
