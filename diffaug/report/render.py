"""Pages from templates, with style and script inlined, so that a page is one file."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


def render(template: str, **given: object) -> str:
    """Render a template of this package."""
    return _environment().get_template(template).render(given)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("diffaug.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # keeps the order of columns
    folder = files("diffaug.report") / "templates"
    for name in ("page.css", "page.js"):
        environment.globals[name.replace(".", "_")] = (folder / name).read_text(encoding="utf-8")
    return environment
