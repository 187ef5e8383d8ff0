"""How Sphinx builds the documentation: `make docs`, then open docs/_build/index.html."""

from diffaug import __version__
from diffaug.cli import app

project = "diffaug"
copyright = "the diffaug authors; Apache-2.0"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "cyclopts.ext.sphinx",
]
exclude_patterns = ["_build"]

myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # in the cards, which are in other folders
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

for name in ("augment", "evaluate", "train"):  # cyclopts adds the command's name itself
    app[name].usage = str(app[name].usage).replace(f"diffaug {name}", "diffaug")

html_theme = "furo"
html_title = f"diffaug {release}"
