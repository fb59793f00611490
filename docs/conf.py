"""Settings of Sphinx: ``make docs`` writes the site to docs/_build/html."""

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from sphinx.pycode import ModuleAnalyzer  # noqa: E402

import convexnn  # noqa: E402

project = "convexnn"
author = "the convexnn maintainers"
copyright = "the convexnn maintainers, MIT licence"
version = release = convexnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "subscripts",
]
exclude_patterns = ["_build", "README.md"]
templates_path = ["_templates"]
default_role = "py:obj"  # `name` in a docstring links to the name where there is one
suppress_warnings = ["myst.header"]  # pages with measured parts begin them at the third level
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# ------------------------------------------------------------------------------------------ API reference

autosummary_generate = True
autodoc_typehints = "none"  # types stand in the docstrings, with shapes
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# ------------------------------------------------------------------------------------------------ gallery

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "within_subsection_order": "gallery_order.ByClaim",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1000,
    "remove_config_comments": True,
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "copyfile_regex": r"^$",
}

# --------------------------------------------------------------------------------------------------- look

html_theme = "furo"
html_title = "convexnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"

# -------------------------------------------------------------------------------------------------- links

linkcheck_timeout = 10
linkcheck_anchors = False

# ------------------------------------------------------------------------- docstrings with plain formulas

#: In reStructuredText |x| is a substitution, name_ a link and *x emphasis; in a formula they are themselves.
_MARKS = re.compile(r"(?<!\\)\||(?<=\w)_(?!\w)|(?<=\w)\*(?=[\w(])|(?<=[(,= ])\*(?=[^\s*]*(?:\s|$))")
#: The spaces inside 0.31 ± 0.02 *, × 1.2 and 1353 × 5.
_SPACES = re.compile(r"(?<=\d) (?=[±×*\\])|(?<=[±×]) (?=\d)")
_QUOTED = re.compile(r"(``.+?``|`[^`]+`_*)")


def escape_marks(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape what would be markup in the formulas of a docstring; leave quoted words alone."""
    in_table = False  # whose columns must not shift
    for k, line in enumerate(lines):
        in_table = bool(line.strip()) and (in_table or line.lstrip().startswith("==="))
        if in_table:
            continue
        parts = _QUOTED.split(line)
        lines[k] = "".join(p if p.startswith("`") else _MARKS.sub(r"\\\g<0>", p) for p in parts)


def constant_words(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A constant has the words of the module that defines it (``#:``), not those of its type."""
    own = name.rpartition(".")[2]
    for module in ("convexnn.tables", "convexnn._arrangement"):
        if what == "data" and (words := ModuleAnalyzer.for_module(module).find_attr_docs().get(("", own))):
            lines[:] = words


def title_sources(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A last paragraph "Source: …" is a section of its own, not part of the section before it."""
    for k, line in enumerate(lines):
        if line.startswith("Source: "):
            indented = ["    " + text.removeprefix("Source: ") for text in lines[k:]]
            lines[k:] = ["References", "----------", *indented, ""]
            return


def skip_foreign(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out members that come from scikit-learn: they are described there."""
    owner = getattr(obj, "__module__", None) or getattr(type(obj), "__module__", "")
    return True if str(owner).startswith("sklearn") else None


def link_public(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """`train` in any module means `convexnn.train`, where nothing nearer has that name."""
    name = node.get("reftarget", "")
    if node.get("reftype") != "obj" or name.split(".")[0] not in convexnn.__all__:
        return None
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"convexnn.{name}", node, contnode)


def into_site(app: Any, docname: str, source: list[str]) -> None:
    """Links out of the folder go to their pages of the site; a figure of a table stays on one line."""
    text = source[0].replace("](../CHANGELOG.md)", "](/changes.md)")
    source[0] = re.sub(r"^\|.*", lambda row: _SPACES.sub("\N{NO-BREAK SPACE}", row[0]), text, flags=re.M)


def setup(app: Any) -> None:
    """Hooks of this site."""
    app.connect("autodoc-process-docstring", constant_words, priority=300)
    app.connect("autodoc-process-docstring", title_sources, priority=400)  # before napoleon, at 500
    app.connect("autodoc-process-docstring", escape_marks, priority=600)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("missing-reference", link_public)
    app.connect("source-read", into_site)
