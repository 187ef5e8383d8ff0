"""Silencing the progress bars and hints of other libraries while they load a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Hide other libraries' progress bars, log messages and warnings within the context."""
    from diffusers.utils import logging as diffusers_logging

    found = [diffusers_logging]
    if find_spec("transformers") is not None:
        from transformers.utils import logging as transformers_logging

        found.append(transformers_logging)
    levels = [logging.get_verbosity() for logging in found]
    bars = [logging.is_progress_bar_enabled() for logging in found]
    for logging in found:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logging, level, bar in zip(found, levels, bars, strict=True):
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()
