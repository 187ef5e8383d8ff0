"""What all commands share: the app, the consoles, and the exit codes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Group, Parameter

from diffaug.cli.console import PlainConsole
from diffaug.cli.progress import Log
from diffaug.version import __version__

__all__ = ["DIFFERS", "OK", "SIGNALLED", "USAGE", "app", "err", "out"]

OK, DIFFERS, USAGE = 0, 1, 2
SIGNALLED = 128
"""Plus the signal's number, as shells report it: 130 after Ctrl-C, 143 after SIGTERM."""

app = App(
    name="diffaug",
    version=__version__,
    help="Audited, reproducible diffusion augmentation for sharded image datasets.",
    suppress_keyboard_interrupt=False,  # `main` prints how to continue
)
app.meta.suppress_keyboard_interrupt = False  # the same for the app around it
app.register_install_completion_command(
    help="Install completion of commands and flags for the shell: bash, zsh or fish."
)
out = PlainConsole()
err = Log(PlainConsole(stderr=True))


@app.meta.default
def run(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_json: Annotated[
        bool, Parameter(negative=(), group=Group("Every command", sort_key=9))
    ] = False,
) -> object:
    """Flags of every command.

    Parameters
    ----------
    log_json
        write progress and messages to standard error as JSON, one object a line
    """
    err.json = log_json
    return app(tokens, exit_on_error=False, result_action="return_value")
