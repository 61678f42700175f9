"""Sphinx configuration: `make docs` builds it with every warning an error."""

from importlib.metadata import version as installed_version
from typing import Any

project = "cotyledon"
author = "The cotyledon developers"
project_copyright = author
release = installed_version("cotyledon")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"cotyledon {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False

nitpicky = True
# Only our own names can be checked: without the network there is no inventory of others'.
# Private modules have no pages.
nitpick_ignore_regex = [(r"py:.*", r"(?!cotyledon(\.|$)).*"), (r"py:.*", r"cotyledon\.(.*\.)?_.*")]

# Napoleon takes what stands before a colon in an attribute's docstring for its type. These
# docstrings are plain text, so they are put back as they were.
_plain: dict[str, list[str]] = {}


def _keep(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in ("attribute", "data"):
        _plain[name] = lines[:]


def _restore(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _plain.pop(name, lines)


def setup(app: Any) -> None:
    """Wrap napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", _keep, priority=400)
    app.connect("autodoc-process-docstring", _restore, priority=600)
