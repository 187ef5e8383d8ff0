"""A picture or a clip of nothing, to warm up with."""

from __future__ import annotations

import numpy as np

from diffaug.clips.arrays import clip_of_array
from diffaug.clips.clip import Selection
from diffaug.editor import Editor, Source
from diffaug.pictures.medium import IMAGE
from diffaug.shards.reading import Label

__all__ = ["nothing"]


def nothing(editor: Editor) -> Source:
    """A grey source of the model's size, of as many frames as a model of clips takes."""
    channels, height, width = editor.model.shape
    frames = np.full((editor.model.frames or 1, height, width, channels), 128, np.uint8)
    clip = clip_of_array(frames, Selection())
    value = clip.still if editor.medium is IMAGE else clip
    return Source(image=value, stored=value, label=Label(0, "nothing"), key="nothing")
