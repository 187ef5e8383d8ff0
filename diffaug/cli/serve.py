"""`diffaug serve`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diffaug.cli.app import DIFFERS, OK, app, err
from diffaug.cli.augment import RecipeFlags
from diffaug.errors import ConfigError, require_extra
from diffaug.recipe import Recipe
from diffaug.serve.limits import Limits

__all__ = ["serve"]

_NONE_GIVEN = RecipeFlags()
_LIMITS = Limits()


@app.command
def serve(
    *,
    recipe: Annotated[list[Path] | None, Parameter(negative=())] = None,
    flags: RecipeFlags = _NONE_GIVEN,
    host: str = "127.0.0.1",
    port: int = 8321,
    tokens: Path | None = None,
    cache: str | None = None,
    max_cache: int = _LIMITS.cache,
    max_wait: float = _LIMITS.wait,
    max_body: int = _LIMITS.body,
    drain: float = 30,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> int:
    """Augment pictures over HTTP, until SIGTERM.

    Parameters
    ----------
    recipe
        YAML file of recipe fields, which requests ask for by the file's name without .yaml; may be
        repeated, for recipes of the same model
    host
        the address to listen on; any but the machine's own requires --tokens
    port
        the port to listen on
    tokens
        file of tokens, one a line: requests must have one of them
    cache
        folder that keeps results, so that they are read, not made again
    max_cache
        bytes of results to keep; the least recently used leave first
    max_wait
        seconds of work that may wait; what comes then is told when to come again
    max_body
        bytes of a picture; of a tar, bytes of a sample's members that are read
    drain
        seconds to end what is under way after SIGTERM
    batch_size
        lanes in the one fixed batch shape [default: 32]
    dtype
        float32 or bfloat16 [default: the faster one on this machine]
    device
        cpu, cuda or cuda:N [default: cuda if available]
    """
    require_extra("serve", "serve", "fastapi", "prometheus_client", "uvicorn")
    for name, value in {"max-wait": max_wait, "max-body": max_body, "max-cache": max_cache}.items():
        if not value > 0:
            raise ConfigError(f"--{name} must be more than 0, got {value:g}")
    if not drain >= 0:
        raise ConfigError(f"--drain must be 0 or more seconds, got {drain:g}")
    if tokens is None and not _is_own(host):
        raise ConfigError(
            f"--host {host} can be reached from other machines: give --tokens, a file of tokens"
        )
    from diffaug.execution import Execution
    from diffaug.serve.app import create_app
    from diffaug.serve.recipes import Recipes
    from diffaug.serve.server import listen, run_server
    from diffaug.serve.service import Service
    from diffaug.serve.store import Store
    from diffaug.serve.tokens import Tokens, read_tokens

    known = Tokens() if tokens is None else read_tokens(tokens)
    store = None if cache is None else Store(cache, max_cache)
    execution = Execution.choose(batch_size, dtype, device)
    recipes = Recipes(_recipes(recipe or [], flags), execution)
    listening = listen(host, port)
    service = Service(recipes, execution, store)
    made = create_app(service, known, Limits(wait=max_wait, body=max_body))
    shown, number, *_ = listening.getsockname()
    url = f"http://[{shown}]:{number}" if ":" in shown else f"http://{shown}:{number}"
    names = ", ".join(one.name for one in recipes.registered)
    err.print(f"serving {names} at {url} (page: {url}/docs)", "serving", url=url)
    if run_server(made, made.state.diffaug, listening, drain):
        return OK
    err.print(f"diffaug: some requests were not done {drain:g} s after the signal")
    return DIFFERS


def _recipes(files: list[Path], flags: RecipeFlags) -> dict[str, Recipe]:
    fields = flags.given()
    if not files:
        return {"default": Recipe.of(fields)}
    made: dict[str, Recipe] = {}
    for file in files:
        if file.stem in made:
            raise ConfigError(f"--recipe: two files are named {file.stem}: rename one")
        made[file.stem] = Recipe.from_yaml(file, **fields)
    return made


def _is_own(host: str) -> bool:
    """Whether an address is only reached from the machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
