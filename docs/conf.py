"""
Settings of Sphinx. The pages of modules come from pydoctor (C{tools/apidocs.py}), which puts them in the
place of C{api/index.rst}.
"""

from __future__ import annotations

from importlib.metadata import version as installed

project = "sipgrace"
release = version = installed("sipgrace")
html_title = f"sipgrace {release}"
# Nothing in the pages changes with the day they are built.
copyright = author = "the authors of sipgrace"

exclude_patterns = ["_build"]
nitpicky = True
html_theme = "alabaster"
html_theme_options = {
    "description": "Takes a SIP server out of service without losing a call",
    "page_width": "72em",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
highlight_language = "none"
