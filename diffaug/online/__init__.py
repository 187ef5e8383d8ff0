"""Augmenting outside a job: `augment` for images in hand, `Augment` and `Augmenter` in a loader.

All give, for the same picture, recipe and batch size, what a job writes, pixel for pixel. A
result is widened to RGB where the input was RGB and the model is grey; colour is never taken away.
"""

from diffaug.online.call import augment
from diffaug.online.loader import Augment, Augmenter

__all__ = ["Augment", "Augmenter", "augment"]
