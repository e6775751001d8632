"""The report of an audit: one HTML file that needs nothing else, for the screen and for paper."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jinja2

from mint_keras.report import tables


def render(
    content: Mapping[str, Any], meanings: Mapping[str, str], manifest: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> str:
    """Returns the page. Whatever comes from files, such as the names of folders and databases, is escaped.

    Args:
        content: of audit.json.
        meanings: of the roles of its rows.
        manifest: of the audit.
        pictures: PNG files by name: "findings", and "power" and "robustness" where there are such curves.
    """
    loader = jinja2.PackageLoader("mint_keras.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["estimate"] = _estimate
    sources = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pictures.items()}
    rows = [row for decided in content["verdicts"].values() for row in decided["findings"]]
    met = {role: meaning for role, meaning in meanings.items() if any(row["role"] == role for row in rows)}
    page = environment.get_template("audit.html")
    return page.render(content=content, meanings=met, manifest=manifest, pictures=sources)


def _estimate(one: Mapping[str, float] | None) -> str:
    return "" if one is None else tables.interval(one)
