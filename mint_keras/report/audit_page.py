"""The report of an audit: one HTML file that needs nothing else, for the screen and for paper."""

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

from mint_keras.report import tables


def render(
    content: Mapping[str, Any], meanings: Mapping[str, str], manifest: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> str:
    """Returns the page of an audit, from the content of audit.json, the meanings of roles and the manifest.

    Pictures are PNG files by name: "findings", and "power" and "robustness" where there are such curves.
    """
    # Autoescape, because names come from files; StrictUndefined, because a page with a gap must not be written.
    loader = jinja2.PackageLoader("mint_keras.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["estimate"] = lambda one: "" if one is None else tables.interval(one)
    # The page is one file that loads nothing: its pictures are in it.
    sources = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pictures.items()}
    rows = [row for decided in content["verdicts"].values() for row in decided["findings"]]
    met = {role: meaning for role, meaning in meanings.items() if any(row["role"] == role for row in rows)}
    page = environment.get_template("audit.html")
    return page.render(content=content, meanings=met, manifest=manifest, pictures=sources)
