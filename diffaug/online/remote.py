"""`RemoteAugmenter`: an `Augmenter` whose lanes are a server's."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import httpx
from PIL import Image

from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import CHANGES_PIXELS, Execution, device_class, versions
from diffaug.models import checkpoint_of, with_suggestions
from diffaug.online.images import like, to_pil
from diffaug.online.loader import Augmenter
from diffaug.online.samples import given, image_key, only_samples
from diffaug.output.layout import copy_key
from diffaug.pictures.codec import pixel_sha256
from diffaug.recipe import Recipe

__all__ = ["RemoteAugmenter", "ServerError"]

_log = logging.getLogger(__name__)
