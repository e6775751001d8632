"""The report of an audit: whole, safe whatever names files have, and independent of everything else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mint_keras.report import audit_page

PICTURE = b"\x89PNG\r\n"
ESTIMATE = {"value": 0.7512, "low": 0.7, "high": 0.8, "num_seeds": 1}
MEANINGS = {"reference": "only membership differs", "blind": "never looked at the model"}
MANIFEST = {
    "command": "python scripts/audit.py --run '<b>'",
    "inputs": {"run": "aa11"},
    "fingerprint": "bb22",
    "config": {"seed": 1},
    "versions": {"numpy": "2"},
}


def content(**changes: Any) -> dict[str, Any]:
    row = {"name": "<script>alert(1)</script>", "question": "is it so", "role": "reference", "auc": ESTIMATE}
    row |= {"difference": None, "adjusted_p": 0.0123, "num_members": 51, "num_externals": 60}
    decided = {
        "headline": "No evidence: nothing.",
        "assessments": [{"sentences": ["It rests on this."]}],
        "findings": [row],
        "limits": "Limits.",
    }
    found = {"outcome": "no evidence", "verdicts": {"vanilla on conv1": decided}, "people": [], "photos": "None."}
    found["robustness"] = {"max_fpr": 0.05, "rows": []}
    return found | {"not_measured": ["a control: no option"], "identities": ["Look network lab2: AUC 0.99"]} | changes


def test_page_says_what_was_found_and_nothing_from_elsewhere() -> None:
    page = audit_page.render(content(), MEANINGS, MANIFEST, {"findings": PICTURE})
    for said in (
        "No evidence: nothing.",
        "0.751 [0.700, 0.800]",
        "51 + 60",
        "0.0123",
        "aa11",
        "bb22",
        "a control: no",
        "lab2: AUC 0.99",
    ):
        assert said in page
    assert page.index("No evidence: nothing.") < page.index("data:image/png;base64,")
    assert "never looked at the model" not in page  # a role that no row has
    assert not re.search(r"""(src|href)=["'](?!data:)|https?://|@import|url\(""", page)


def test_names_of_files_are_no_markup() -> None:
    page = audit_page.render(content(), MEANINGS, MANIFEST, {"findings": PICTURE})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_a_page_with_something_missing_is_not_written() -> None:
    with pytest.raises(Exception, match="photos"):
        audit_page.render({k: v for k, v in content().items() if k != "photos"}, MEANINGS, MANIFEST, {"findings": b""})
