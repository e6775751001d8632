"""The report of an audit: one verdict everywhere, whole, safe whatever names files have, independent of all else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from mint_keras import formats, languages
from mint_keras.records import InputError, RefusedError
from mint_keras.report import dossier, pdf, plots, states
from mint_keras.report.states import NOT_POSSIBLE, NOT_RUN, RUN, Gap
from mint_keras.statistics import findings, names, verdict
from mint_keras.statistics.findings import Finding
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.verdict import Verdict
from tests.statistics.test_verdict import GOOD

RUNS = Path(__file__).resolve().parents[2] / "docs" / "runs"
COMMITTED = sorted(RUNS.glob("audit-*.json"))
FILES = {"audit.json": "cc33", "case.json": "dd44"}
CASE = {"case": "<i>7</i>", "author": "", "release": "", "time": "2026-11-29T01:02+00:00"}
MANIFEST = {
    "command": "python scripts/audit.py --run '<b>' --look /home/somebody/nets/dlib --nulls=a=/home/somebody/orl",
    "inputs": {"run": "aa11"},
    "fingerprint": "bb22",
    "config": {"seed": 1},
    "versions": {"mint_keras": "0", "numpy": "2"},
}
MODEL = {
    "name": "lab", "kind": "audited_model", "file": "model.keras", "sha256": "ab" * 32,
    "made_from": {"x.onnx": "cd" * 32},
    "card": {"name": "lab", "title": "small IResNet", "licence": "Apache-2.0"}, "verification": "AUC 0.99 on 6 pairs",
    "parity": "conv1 within 1e-6",
}  # fmt: skip
PHOTOS = {
    "list_sha256": "ef" * 32, "pixels_sha256": "01" * 32, "num_rejected": 3, "scan": "NOT SCANNED: externals were not.",
    "parts": {"test_members": {"images": 1234, "identities": 51, "unknown": 0, "databases": {"web": 1234}}},
    "identities_read": {"the outer folder": ["web"]},
}  # fmt: skip


def content(name: str = "same database", **changes: Any) -> dict[str, Any]:
    """An audit with one reference and no control: it cannot decide."""
    auc = Estimate(0.7512, 0.7, 0.8, 1)
    reference = Finding(
        name, "is it so", findings.REFERENCE, findings.PERSON, "same_database", auc, 51, 60, None, 0.0123
    )
    decided = verdict.decide([reference])
    found = {"outcome": decided.outcome, "verdicts": {"vanilla on conv1": decided.to_dict()}, "people": {}}
    found |= {
        "photos": "Single photos: none.",
        "robustness": {"max_fpr": 0.05, "rows": []},
        "identities": ["Look network lab2: 0.99"],
    }
    found |= {
        "photos_needed": {"auc": 0.9, "by_scorer": {}},
        "not_measured": ["Foreign model: none was given (--foreign)."],
    }
    return json.loads(json.dumps({**found, "audited": {"model": MODEL, "photos": PHOTOS}, **changes}))


def page_of(folder: Path, found: dict[str, Any]) -> str:
    formats.write_json(folder / dossier.AUDIT, found)
    english = languages.of(languages.ENGLISH)
    return dossier.render(dossier.read(folder), MANIFEST, CASE, FILES, {"findings": b"PNG"}, english)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pictures nor paper: they take seconds, and have tests of their own."""
    for name in ("save_findings", "save_curves"):
        monkeypatch.setattr(plots, name, lambda path, *_: path.write_bytes(b"PNG"))
    monkeypatch.setattr(dossier.pdf, "write", lambda *_: False)


def test_the_first_page_says_what_was_audited_when_and_for_whom(tmp_path: Path) -> None:
    page = page_of(tmp_path, content())
    first = page[: page.index("<h2>A.")]
    for said in (
        "Cannot decide", "75.1 times in 100", "small IResNet", "ab" * 32, "cd" * 32, "ef" * 32, "AUC 0.99 on 6 pairs",
        "1,234 photos of 51 people", "the outer folder", "NOT SCANNED", "2026-11-29 01:02 UTC",
        "; the author is not named;",
        "3 photos could not be used", "mint_keras 0", "Signature", verdict.LIMITS,
    ):  # fmt: skip
        assert said in first, said
    for said in ("0.751 [0.700, 0.800]", "51 + 60", "0.012", "aa11", "bb22", "cc33", "01" * 32, "conv1 within 1e-6"):
        assert said in page
    assert "lab2: 0.99" in page
    assert re.findall(r"<h2>([A-Z])\.", page) == list("ABCDEF")
    assert "Not declared by whoever made this report" in page
    assert "it must point to the" not in page  # a role that no row has


def test_the_page_is_no_markup_of_strangers_loads_nothing_and_says_no_place(tmp_path: Path) -> None:
    page = page_of(tmp_path, content("<script>alert(1)</script>"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "/home/somebody" not in page
    assert "--look [dlib] --nulls=a=[orl]" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|https?://|@import|url\(""", page)


def test_every_picture_has_a_text_and_every_table_heads(tmp_path: Path) -> None:
    page = page_of(tmp_path, content())
    assert all('alt="A' in tag for tag in re.findall(r"<img[^>]*>", page))
    assert all("<th" in table for table in re.findall(r"<table.*?</table>", page, re.DOTALL))
    assert '<html lang="en">' in page


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_that_of_wcag_aa_in_both_modes(tmp_path: Path) -> None:
    schemes = re.findall(r":root { --ink: (\S+); --soft: (\S+); --paper: (\S+); --box: (\S+); --line: (\S+); }",
                         page_of(tmp_path, content()))  # fmt: skip
    assert len(schemes) == 3
    for ink, soft, paper, box, _ in schemes:
        for text in (ink, soft):
            for ground in (paper, box):
                lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_a_page_with_something_missing_is_not_written(tmp_path: Path) -> None:
    del (found := content())["audited"]["photos"]["scan"]
    with pytest.raises(Exception, match="scan"):
        page_of(tmp_path, found)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_headline_first_box_json_and_text_agree_on_all_committed_audits(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / dossier.AUDIT)
    written = dossier.write(tmp_path, dossier.Case())
    assert written[:2] == [dossier.REPORT, dossier.VERDICT]
    content = json.loads(path.read_text())
    # The first version asked no look network: whatever it said, the rule of today cannot decide.
    outcome = content["outcome"] if "schema_version" in content else verdict.CANNOT_DECIDE
    found = dossier.read(tmp_path)
    said = (tmp_path / dossier.VERDICT).read_text()
    page = (tmp_path / dossier.REPORT).read_text()
    assert said.startswith(f"Verdict: {outcome}\n")
    assert f"<title>Audit: {outcome}</title>" in page
    assert f'<p class="outcome">{outcome.capitalize()}</p>' in page
    # Wherever a reference is named with an outcome, it is the one that was decided.
    for one in found.decisions:
        if one.reference:
            assert f"{one.reference.capitalize()}, which speaks of the {one.truth}: {one.outcome}</h3>" in page
            assert f"== {one.reference}, of the {one.truth}: {one.outcome} ==" in said
            others = [other for other in verdict.OUTCOMES if other != one.outcome]
            assert not re.search(f"{one.reference}[^.;<]{{0,40}}: ({'|'.join(others)})", page + said, re.IGNORECASE)
    assert "when was not recorded" in page
    for one in found.states:
        assert one.state == RUN or one.why in said


def test_the_command_says_what_to_fill_in_and_its_sha256(tmp_path: Path) -> None:
    steps = [
        {"name": "net", "command": "python scripts/convert_fr.py --weights net.onnx", "inputs": {"net.onnx": "a1"}},
        {"name": "mint", "inputs": {"audited": "b2", "samples": "c3"},
         "command": "mint train --audited net --members=lfw --externals a=/home/me/b synthetic:1/web/0-9/2"},
    ]  # fmt: skip
    page = page_of(tmp_path, content(steps=steps))
    commands = page[page.index("<pre>") + 5 : page.index("</pre>")].splitlines()
    assert commands[0] == "python scripts/convert_fr.py --weights [net.onnx] --out [net]"
    assert commands[1] == (
        "mint train --audited [net] --members=[lfw] --externals a=[b] synthetic:1/web/0-9/2 --out [mint]"
    )
    assert commands[2].endswith("--look [dlib] --nulls=a=[orl] --out [AUDIT]")
    assert commands[3] == "mint audit --render --run [AUDIT] --out [AUDIT]"
    rows = re.findall("<tr><td>(.*?)</td><td><code>(.*?)</code>", page)
    listed = "the list of all photos of the run"
    assert [
        ("[net.onnx]: the file itself", "a1"), ("[net]: its model.keras", "b2"), (f"[lfw]: {listed}", "c3"),
        (f"[b]: {listed}", "c3"), ("[&lt;b&gt;]: its scores.csv", "aa11"),
    ] == rows[-6:-1]  # fmt: skip
    assert "/home" not in page


def test_the_first_page_has_names_for_everybody_and_the_annexes_those_of_experts(tmp_path: Path) -> None:
    page = page_of(tmp_path, content())
    first, annexes = page[: page.index("<h2>A.")], page[page.index("<h2>A.") :]
    plain = names.plain("vanilla on conv1")
    assert plain.name in first
    assert plain.sentence in first
    assert "vanilla on conv1" not in first
    assert "vanilla on conv1" in annexes
    assert plain.name in annexes  # which is which


@pytest.mark.usefixtures("quick")
def test_a_pdf_that_cannot_be_made_again_does_not_stay(tmp_path: Path) -> None:
    formats.write_json(tmp_path / dossier.AUDIT, content())
    (tmp_path / dossier.PDF).write_bytes(b"of another case")
    assert dossier.PDF not in dossier.write(tmp_path, dossier.Case())
    assert not (tmp_path / dossier.PDF).exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "changes",
    [{"verdicts": {"a": {}}}, {"verdicts": 7}, {"people": {"a": [{}]}}, {"not_measured": None}, {"decisions": [{}]},
     {"audited": {"model": {}}}, {"robustness": {}}],
)  # fmt: skip
def test_a_file_that_is_no_audit_is_one_error_of_ours(changes: dict[str, Any], tmp_path: Path) -> None:
    formats.write_json(tmp_path / dossier.AUDIT, content(**changes))
    with pytest.raises(InputError, match="Expected"):
        dossier.write(tmp_path, dossier.Case())


def test_an_audit_that_was_changed_is_refused(tmp_path: Path) -> None:
    formats.write_json(tmp_path / dossier.AUDIT, content(decisions=[{"reference": "x", "outcome": "no evidence"}]))
    with pytest.raises(RefusedError, match="was changed"):
        dossier.read(tmp_path)
    formats.write_json(tmp_path / dossier.AUDIT, content(outcome=verdict.EVIDENCE))
    with pytest.raises(RefusedError, match="was changed"):
        dossier.read(tmp_path)
    with pytest.raises(InputError, match="finished audit"):
        dossier.read(tmp_path / "elsewhere")


def test_evidence_that_does_not_follow_from_its_findings_is_refused(tmp_path: Path) -> None:
    said = content(schema_version=dossier.SCHEMA_VERSION)
    formats.write_json(tmp_path / dossier.AUDIT, said)
    assert dossier.read(tmp_path).outcome == verdict.CANNOT_DECIDE
    (one,) = said["verdicts"].values()
    for assessment in one["assessments"]:
        assessment |= {"outcome": verdict.EVIDENCE, "reason": ""}
    one["outcome"] = said["outcome"] = verdict.EVIDENCE
    formats.write_json(tmp_path / dossier.AUDIT, said)
    with pytest.raises(RefusedError, match="does not follow"):
        dossier.read(tmp_path)


def evidence(*kept: str, **changes: Any) -> dict[str, Any]:
    """An audit that says evidence, with the findings of some roles only; of all of them it is right."""
    decided = json.loads(json.dumps(verdict.decide(GOOD).to_dict()))
    assert decided["outcome"] == verdict.EVIDENCE
    decided["findings"] = [one for one in decided["findings"] if one["role"] in (kept or findings.ROLES)]
    return content(outcome=verdict.EVIDENCE, verdicts={"a": decided}, **changes)


def test_evidence_takes_what_the_rule_takes_whatever_version_a_file_says_it_is(tmp_path: Path) -> None:
    path, without_look = tmp_path / dossier.AUDIT, [role for role in findings.ROLES if role != findings.LOOK]
    for version in (1, True, 2, 3, 99, None):
        path.write_text(json.dumps(evidence(schema_version=version)))
        assert dossier.read(tmp_path).outcome == verdict.EVIDENCE
        path.write_text(json.dumps(evidence(*without_look, schema_version=version)))
        with pytest.raises(RefusedError, match="does not follow"):
            dossier.read(tmp_path)
    path.write_text(json.dumps(evidence(*without_look)))  # as the first version was, and as anybody can make it
    found = dossier.read(tmp_path)
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "look control" in dossier.text(found)


def test_findings_that_say_more_than_their_verdict_are_refused_too(tmp_path: Path) -> None:
    said = evidence(schema_version=dossier.SCHEMA_VERSION)
    (one,) = said["verdicts"].values()
    for assessment in one["assessments"]:
        assessment["outcome"] = verdict.NO_EVIDENCE
    one["outcome"] = said["outcome"] = verdict.NO_EVIDENCE
    formats.write_json(tmp_path / dossier.AUDIT, said)
    with pytest.raises(RefusedError, match="does not follow"):
        dossier.read(tmp_path)


NAN = float("nan")


@pytest.mark.parametrize("role", [one.role for one in GOOD])
@pytest.mark.parametrize(
    "changes",
    [{"auc": {"value": 0.9, "low": NAN, "high": NAN}}, {"auc": {"value": NAN}}, {"auc": {"high": float("inf")}},
     {"auc": {"low": 0.9, "value": 0.7, "high": 0.3}}, {"auc": {"low": 0.7, "value": 0.6, "high": 0.8}},
     {"difference": {"value": NAN, "low": NAN, "high": NAN, "num_seeds": 1}},
     {"difference": {"value": 0.2, "low": 0.3, "high": 0.4, "num_seeds": 1}},
     {"difference": {"value": 7.0, "low": 6.0, "high": 8.0, "num_seeds": 1}},
     {"adjusted_p": NAN}, {"adjusted_p": -1.0}, {"num_members": NAN}, {"num_externals": float("inf")},
     {"num_members": -80}, {"num_folds": NAN}],
    ids=json.dumps,
)  # fmt: skip
def test_figures_that_are_none_are_refused(changes: dict[str, Any], role: str, tmp_path: Path) -> None:
    said = evidence(schema_version=dossier.SCHEMA_VERSION)
    row = next(one for one in said["verdicts"]["a"]["findings"] if one["role"] == role)
    for name, value in changes.items():
        row[name] = {**(row[name] or {}), **value} if isinstance(value, dict) else value
    (tmp_path / dossier.AUDIT).write_text(json.dumps(said))
    with pytest.raises(InputError, match="Expected an AUC"):
        dossier.read(tmp_path)


@pytest.mark.usefixtures("quick")
def test_a_report_is_made_again_and_a_case_is_added_without_touching_the_audit(tmp_path: Path) -> None:
    audit, out = tmp_path / "audit", tmp_path / "out"
    audit.mkdir()
    formats.write_json(audit / dossier.AUDIT, content())
    dossier.write(audit, dossier.Case(author="A. Auditor"), "2026-11-29T01:02+00:00")
    before = {path.name: path.read_bytes() for path in audit.iterdir()}
    dossier.copy(audit, audit, dossier.Case())
    assert {path.name: path.read_bytes() for path in audit.iterdir()} == before
    dossier.copy(audit, out, dossier.Case(case="AZ 12"))
    assert (out / dossier.AUDIT).read_bytes() == before[dossier.AUDIT]
    case = formats.read_json(out / dossier.CASE)
    assert case.pop("time") == "2026-11-29T01:02+00:00"
    assert case == {"case": "AZ 12", "author": "A. Auditor", "release": "", "language": ""}
    assert "AZ 12" in (out / dossier.REPORT).read_text()
    with pytest.raises(InputError, match="empty folder"):
        dossier.copy(audit, tmp_path, dossier.Case())


class TestStates:
    """Every control and attack is run, not run or not possible; nothing is an empty cell."""

    def of(self, **changes: Any) -> dict[str, Any]:
        found = content(**changes)
        verdicts = {name: Verdict.of(one) for name, one in found["verdicts"].items()}
        return {name: one for one in states.read(found, verdicts) for name in one.name.split("; ")}

    def test_run(self) -> None:
        found = self.of()
        assert found["same database (people who were kept out)"].state == RUN
        assert found["vanilla on conv1"].state == RUN
        assert found["single photos"].state == RUN

    def test_not_run_says_which_option_would_have(self) -> None:
        assert self.of()["a foreign model"][2:] == (NOT_RUN, "none was given (--foreign).")
        assert self.of()["untrained copies"].state == NOT_RUN  # and nobody knows why
        for name in ("attribute inference", "reconstruction of faces (model inversion)"):
            assert self.of()[name].state == NOT_RUN

    def test_not_possible_says_why(self) -> None:
        said = [
            "Resolution match: photos are as large.",
            "Look control: nobody knows them.",
            "MINT+: there are 3 people.",
        ]
        found = self.of(not_measured=said)
        for name in ("photos shrunk alike", "another face network (look)", "MINT+"):
            assert found[name].state == NOT_POSSIBLE
            assert found[name].why
        assert found["several photos of a person"].state == NOT_POSSIBLE

    def test_without_a_reference_no_control_is_possible(self) -> None:
        found = self.of(verdicts={"a": verdict.decide([]).to_dict()})
        assert found["pixels alone"][2:] == (NOT_POSSIBLE, "There is no reference to be a control of.")

    def test_what_is_not_known_here_is_not_dropped(self) -> None:
        assert self.of(not_measured=["Something new: no time."])["Something new"][2:] == (NOT_POSSIBLE, "no time.")

    def test_a_control_in_part_is_run_and_says_what_is_missing(self) -> None:
        row = Finding(
            "null pair, a and b", "q", findings.CONTEXT, findings.PERSON, "x", Estimate(0.5, 0.4, 0.6, 1), 9, 9
        )
        found = self.of(verdicts={"a": verdict.decide([row]).to_dict()}, not_measured=["Null pairs with orl: no face."])
        assert found["pairs of databases without members"][2:] == (RUN, "with orl: no face.")

    @pytest.mark.parametrize("state", [NOT_RUN, NOT_POSSIBLE])
    def test_every_item_has_each_state_in_the_file_and_says_why(self, state: str, tmp_path: Path) -> None:
        found = content()
        verdicts = {name: Verdict.of(one) for name, one in found["verdicts"].items()}
        names = [item.name for item in states._ITEMS]
        gaps = [Gap(name, state, f"why of {name}") for name in [*names, states.PLUS, states.PERSONS, states.CHANGED]]
        made = states.states(found, verdicts, gaps)
        told = {one.name: one for one in made}
        for gap in gaps:
            is_run = gap.name == states.KEPT_OUT  # the one that `content` has
            assert told[gap.name][2:] == (RUN if is_run else state, gap.why)
        # What the file says is what is read back, and a gap in it is no state.
        del found["not_measured"]
        found |= {"states": [one._asdict() for one in made], "schema_version": dossier.SCHEMA_VERSION}
        formats.write_json(tmp_path / dossier.AUDIT, found)
        assert dossier.read(tmp_path).states == made
        for broken in ({"state": ""}, {"why": ""}, {"state": "0"}):
            changed = [one | broken if one["state"] == state else one for one in found["states"]]
            formats.write_json(tmp_path / dossier.AUDIT, found | {"states": changed})
            with pytest.raises(InputError, match="run, or not and why"):
                dossier.read(tmp_path)

    def test_of_several_reasons_what_could_have_run_counts(self) -> None:
        gaps = [Gap(states.NULL_PAIRS, NOT_POSSIBLE, "with a: b."), Gap(states.NULL_PAIRS, NOT_RUN, "--nulls adds.")]
        found = {one.name: one for one in states.states(content(), {}, gaps)}
        assert found[states.NULL_PAIRS][2:] == (NOT_RUN, "with a: b. --nulls adds.")


def test_a_picture_holds_every_scorer_and_control(tmp_path: Path) -> None:
    rows = [(f"control {k}", f"role {k}", (0.5, 0.4, 0.6)) for k in range(9)]
    plots.save_findings(tmp_path / "a.png", {"one: no evidence": {"a": rows, "b": rows[:1]}, "aside": {"c": rows[:2]}})
    plots.save_curves(tmp_path / "b.png", {"AUC": {"a": [(1, 0.5, 0.4, 0.6)]}}, "photos")
    assert (tmp_path / "a.png").stat().st_size > 20_000
    assert (tmp_path / "b.png").stat().st_size > 5_000


def test_equal_pages_are_equal_pdfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also an hour later, where a library that dates fonts cuts them."""
    pytest.importorskip("fontTools")
    page, found = "<html lang='en'><title>A</title><p style='unheard-of: 1'>Nothing.</p>", []
    for now in (1e9, 1e9 + 3600):
        monkeypatch.setattr("fontTools.misc.timeTools.time.time", lambda now=now: now)
        if not pdf.write(tmp_path / "nothing.pdf", page):
            pytest.skip("no WeasyPrint, or no Pango: the extra pdf")
        found.append((tmp_path / "nothing.pdf").read_bytes())
    assert found[0] == found[1]
    assert "SOURCE_DATE_EPOCH" not in os.environ
    assert caplog.text == ""  # no warning of a library


@pytest.mark.slow
def test_paper_is_a4_numbered_and_short(tmp_path: Path) -> None:
    if not pdf.write(tmp_path / "nothing.pdf", "<p>Nothing.</p>"):
        pytest.skip("no WeasyPrint, or no Pango: the extra pdf")
    shutil.copy(RUNS / "audit-lab.json", tmp_path / dossier.AUDIT)
    assert dossier.PDF in dossier.write(tmp_path, dossier.Case("AZ 12"))
    data = (tmp_path / dossier.PDF).read_bytes()
    with contextlib.suppress(zlib.error):
        for start in [found.end() for found in re.finditer(rb"/ObjStm[^>]*>>\s*stream\r?\n", data)]:
            data += zlib.decompressobj().decompress(data[start:])  # objects lie in streams, or plain
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert 2 <= len(sizes) <= 6
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {(595, 842)}
