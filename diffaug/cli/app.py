"""What all commands share: the app, where they print, and their exit codes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Group, Parameter
from rich.console import Console

from diffaug.cli.progress import Log
from diffaug.recipe.fields import Fields
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
app.meta.suppress_keyboard_interrupt = False  # nor does what calls it
app.register_install_completion_command(
    help="Have the shell (bash, zsh or fish) complete commands and flags."
)
out = Console(soft_wrap=True, highlight=False)
err = Log(Console(soft_wrap=True, highlight=False, stderr=True))


@app.meta.default
def run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_json: Annotated[
        bool, Parameter(negative=(), group=Group("Every command", sort_key=9))
    ] = False,
) -> object:
    """What every command takes.

    Parameters
    ----------
    log_json
        write progress and messages to standard error as JSON, one object a line
    """
    err.json = log_json
    return app(tokens, exit_on_error=False, result_action="return_value")


def flag(
    fields: type[Fields],
    name: str,
    group: str = "Recipe (overrides --recipe)",
    defaults: Fields | None = None,
) -> Parameter:
    """A flag for a field of a recipe: no default of its own, since the file may give one.

    Its help shows the field's default, or what it is in `defaults`.
    """
    info = fields.model_fields[name]
    default = info.get_default() if defaults is None else getattr(defaults, name)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if isinstance(shown, dict):
        shown = shown["preset"]
    if defaults is None and name in fields.suggested:
        shown = f"the model card's suggestion, else {shown}"
    bare = shown == "" or shown is None
    help = info.description if bare else f"{info.description} [default: {shown}]"
    return Parameter(help=help, group=group, show_default=False, negative=())
