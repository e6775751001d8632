"""Run, not run, or not possible: the state of everything that an audit may do, so that no gap looks like a zero."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mint_keras.statistics import findings, verdict
from mint_keras.statistics.verdict import Verdict

RUN, NOT_RUN, NOT_POSSIBLE = "run", "not run", "not possible"
_REFERENCE, _CONTROL, _ACROSS, _ATTACK, _PHOTOS = "reference", "control", "across databases", "attack", "photos"


class State(NamedTuple):
    """The state of one reference, control or attack, with what is to be said of it."""

    kind: str
    name: str
    state: str
    why: str = ""


class _Item(NamedTuple):
    """What an audit may do: how its finding is called, or its role, and how a sentence that it was not done begins."""

    kind: str
    name: str
    finding: str = ""  # how the finding's name begins
    role: str = ""
    sentence: str = ""


_ITEMS = (
    _Item(_REFERENCE, "same database (people who were kept out)", "same database", findings.REFERENCE, "Same database"),
    _Item(_REFERENCE, "own unseen photos", "own unseen photos", findings.REFERENCE, "Image membership"),
    _Item(_REFERENCE, "cross-model swap", "cross-model swap", findings.REFERENCE, "Cross-model swap"),
    _Item(_CONTROL, "pixels alone", "", findings.BLIND, "Blind control"),
    _Item(_CONTROL, "another face network (look)", "", findings.LOOK, "Look control"),
    _Item(_CONTROL, "untrained copies", "", findings.UNTRAINED, "Untrained control"),
    _Item(_CONTROL, "known signs (which side was used)", "", findings.DIRECTION, "Direction control"),
    _Item(_CONTROL, "two sides neither of which was used", "", findings.NULL),
    _Item(_CONTROL, "a foreign model", "", findings.OTHER, "Foreign model"),
    _Item(_CONTROL, "networks beside the audited one", "", findings.BESIDE, "References"),
    _Item(
        _ACROSS,
        "members and externals, as in the paper",
        "members and externals",
        findings.CLAIM,
        "Members and externals",
    ),
    _Item(_ACROSS, "a database of members held out", "members of", findings.CLAIM, "Member database held out"),
    _Item(_ACROSS, "sides dealt out by lot", "sides dealt out", findings.CONTEXT, "Sides dealt out by lot"),
    _Item(_ACROSS, "files made alike", "pipeline transplant", findings.CLAIM, "Pipeline transplant"),
    _Item(_ACROSS, "photos shrunk alike", "resolution match", findings.CLAIM, "Resolution match"),
    _Item(_ACROSS, "pairs of databases without members", "null pair", findings.CONTEXT, "Null pairs"),
)
# What no audit does, so that nobody takes its silence for resistance.
_ELSEWHERE = (
    State(
        _ATTACK, "attacks of the literature (LiRA, RMIA, quantile regression ...)", NOT_RUN, "mint attacks runs them."
    ),
    State(_ATTACK, "attribute inference", NOT_RUN, "This tool has no such attack."),
    State(_ATTACK, "reconstruction of faces (model inversion)", NOT_RUN, "This tool has no such attack."),
    State(_ATTACK, "extraction of the model by questions", NOT_RUN, "This tool has no such attack."),
)


def states(content: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> list[State]:
    """Returns the state of everything that an audit may do, from the content of audit.json.

    What was not measured is there as sentences "NAME: why.". One that names an option says what would have run it.
    """
    rest = [str(line) for line in content["not_measured"]]
    found = [one for decided in verdicts.values() for one in decided.findings]
    has_reference = any(one.role == findings.REFERENCE for one in found)

    def why_not(beginning: str) -> list[str]:
        said = [line for line in rest if beginning and line.startswith(beginning)]
        rest[:] = [line for line in rest if line not in said]
        return [line.removeprefix(beginning).removeprefix(": ").strip() for line in said]

    def of(item: _Item) -> State:
        said = why_not(item.sentence)
        if any(one.role == item.role and one.name.startswith(item.finding) for one in found):
            return State(item.kind, item.name, RUN, " ".join(said))
        if not said and item.kind == _CONTROL and not has_reference:
            return State(item.kind, item.name, NOT_POSSIBLE, "There is no reference to be a control of.")
        return State(item.kind, item.name, _unmeasured(said), " ".join(said) or "This audit does not say why.")

    known = [of(item) for item in _ITEMS]
    scorers = [State(_ATTACK, name, RUN) for name in verdicts]
    missing = ["MINT+ at the level of persons", "MINT+"]
    scorers += [State(_ATTACK, one, _unmeasured(said), " ".join(said)) for one in missing if (said := why_not(one))]
    every = [*known, *scorers, *_ELSEWHERE, *_of_photos(content, why_not), *_left(rest)]
    # Those of one kind and reason are one row, in the order of the first.
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in every:
        alike.setdefault((one.kind, one.state, one.why), []).append(one.name)
    return [State(kind, "; ".join(names), state, why) for (kind, state, why), names in alike.items()]


def _of_photos(content: Mapping[str, Any], why_not: Any) -> list[State]:
    single = str(content["photos"])
    is_single = not single.startswith("Single photos: no p-values")
    changed = why_not("Photos that were changed")
    scan = str(content.get("audited", {}).get("photos", {}).get("scan", ""))
    has_scan = bool(scan) and not scan.startswith("NOT SCANNED")
    return [
        State(_PHOTOS, "single photos", RUN if is_single else NOT_POSSIBLE,
              "" if is_single else single.removeprefix("Single photos: no p-values").lstrip(". ")),
        State(_PHOTOS, "several photos of a person", RUN if content["people"] else NOT_POSSIBLE,
              "" if content["people"] else f"It takes {verdict.MIN_PEOPLE} people with photos on both sides."),
        State(_PHOTOS, "photos that were changed", RUN if content["robustness"]["rows"] else _unmeasured(changed),
              " ".join(changed)),
        State(_PHOTOS, "search for copies and shared people", RUN if has_scan else NOT_RUN,
              scan or "This audit does not say."),
    ]  # fmt: skip


def _left(lines: Iterable[str]) -> list[State]:
    """Returns what was not measured under a name that is not known here: nothing is dropped."""
    return [
        State(_CONTROL, name, _unmeasured([why]), why.strip()) for name, _, why in (one.partition(":") for one in lines)
    ]


def _unmeasured(said: Iterable[str]) -> str:
    """Says whether something could have been run: its sentence names the option, or nobody knows why it was not."""
    said = list(said)
    return NOT_RUN if not said or any("--" in line for line in said) else NOT_POSSIBLE
