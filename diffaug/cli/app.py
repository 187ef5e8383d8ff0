"""What all commands share: the app, where they print, and their exit codes."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console

from diffaug.version import __version__

__all__ = ["DIFFERS", "INTERRUPTED", "OK", "USAGE", "app", "err", "out"]

OK, DIFFERS, USAGE, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="diffaug",
    version=__version__,
    help="Audited, reproducible diffusion augmentation for sharded image datasets.",
)
out = Console(soft_wrap=True, highlight=False)
err = Console(soft_wrap=True, highlight=False, stderr=True)
