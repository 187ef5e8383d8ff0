"""What all commands share: the app, where they print, and their exit codes."""

from __future__ import annotations

from cyclopts import App, Parameter
from rich.console import Console

from diffaug.fields import Fields
from diffaug.version import __version__

__all__ = ["DIFFERS", "OK", "SIGNALLED", "USAGE", "app", "err", "flag", "out"]

OK, DIFFERS, USAGE = 0, 1, 2
SIGNALLED = 128
"""Plus the signal's number: 130 after Ctrl-C, 143 after SIGTERM; what a shell would say."""

app = App(
    name="diffaug",
    version=__version__,
    help="Audited, reproducible diffusion augmentation for sharded image datasets.",
    suppress_keyboard_interrupt=False,  # `main` says how to go on
)
out = Console(soft_wrap=True, highlight=False)
err = Console(soft_wrap=True, highlight=False, stderr=True)


def flag(fields: type[Fields], name: str, group: str = "Recipe (overrides --recipe)") -> Parameter:
    """A flag for a field of a recipe: no default of its own, since the file may give one."""
    info = fields.model_fields[name]
    default = info.get_default()
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if isinstance(shown, dict):
        shown = shown["preset"]
    bare = shown == "" or shown is None
    help = info.description if bare else f"{info.description} [default: {shown}]"
    return Parameter(help=help, group=group, show_default=False, negative=())
