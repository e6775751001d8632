"""Run, not run, or not possible: the state of everything that an audit may do, so that no gap looks like a zero."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mint_keras.records import InputError
from mint_keras.statistics import findings, verdict
from mint_keras.statistics.verdict import Verdict

RUN, NOT_RUN, NOT_POSSIBLE = "run", "not run", "not possible"
_REFERENCE, _CONTROL, _ACROSS, _ATTACK, _PHOTOS = "reference", "control", "across databases", "attack", "photos"
_NO_REASON = "This audit does not say why."


class State(NamedTuple):
    """The state of one reference, control or attack, with what is to be said of it; only what was run needs no why."""

    kind: str
    name: str
    state: str
    why: str = ""


class Gap(NamedTuple):
    """What an audit did not measure, or not all of: its name as in `states`, `NOT_RUN` or `NOT_POSSIBLE`, and why."""

    name: str
    state: str
    why: str


class _Item(NamedTuple):
    """What an audit may do: how its finding is called, or its role, and how older audits began their sentence of it."""

    kind: str
    name: str
    finding: str = ""  # how the finding's name begins
    role: str = ""
    sentence: str = ""


# Names that those who measure need.
KEPT_OUT, UNSEEN, SWAP = "same database (people who were kept out)", "own unseen photos", "cross-model swap"
FOREIGN, BESIDE, CHANGED = "a foreign model", "networks beside the audited one", "photos that were changed"
PERSONS, PLUS = "MINT+ at the level of persons", "MINT+"
EXTERNALS, HELD_OUT = "members and externals, as in the paper", "a database of members held out"
LOTS, FILES, SHRUNK = "sides dealt out by lot", "files made alike", "photos shrunk alike"
NULL_PAIRS = "pairs of databases without members"
OF_ROLE = {
    findings.BLIND: "pixels alone",
    findings.LOOK: "another face network (look)",
    findings.UNTRAINED: "untrained copies",
    findings.DIRECTION: "known signs (which side was used)",
}
_ITEMS = (
    _Item(_REFERENCE, KEPT_OUT, "same database", findings.REFERENCE, "Same database"),
    _Item(_REFERENCE, UNSEEN, UNSEEN, findings.REFERENCE, "Image membership"),
    _Item(_REFERENCE, SWAP, SWAP, findings.REFERENCE, "Cross-model swap"),
    *(_Item(_CONTROL, name, "", role, f"{role.capitalize()} control") for role, name in OF_ROLE.items()),
    _Item(_CONTROL, "two sides neither of which was used", "", findings.NULL, "Null control"),
    _Item(_CONTROL, FOREIGN, "", findings.OTHER, "Foreign model"),
    _Item(_CONTROL, BESIDE, "", findings.BESIDE, "References"),
    _Item(_ACROSS, EXTERNALS, "members and externals", findings.CLAIM, "Members and externals"),
    _Item(_ACROSS, HELD_OUT, "members of", findings.CLAIM, "Member database held out"),
    _Item(_ACROSS, LOTS, LOTS, findings.CONTEXT, "Sides dealt out by lot"),
    _Item(_ACROSS, FILES, "pipeline transplant", findings.CLAIM, "Pipeline transplant"),
    _Item(_ACROSS, SHRUNK, "resolution match", findings.CLAIM, "Resolution match"),
    _Item(_ACROSS, NULL_PAIRS, "null pair", findings.CONTEXT, "Null pairs"),
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


def states(content: Mapping[str, Any], verdicts: Mapping[str, Verdict], gaps: Iterable[Gap]) -> list[State]:
    """Returns the state of everything that an audit may do, from the content of audit.json and what was not measured.

    What is not known here by its name is a control, so that nothing is dropped.
    """
    rest: dict[str, list[Gap]] = {}
    for gap in gaps:
        rest.setdefault(gap.name, []).append(gap)
    found = [one for decided in verdicts.values() for one in decided.findings]
    has_reference = any(one.role == findings.REFERENCE for one in found)

    def of(kind: str, name: str, is_run: bool, otherwise: tuple[str, str]) -> State:
        missing = rest.pop(name, [])
        why = " ".join(gap.why for gap in missing)
        if is_run:
            return State(kind, name, RUN, why)
        # If anything of it could have been run, it could.
        state = NOT_RUN if any(gap.state == NOT_RUN for gap in missing) else NOT_POSSIBLE
        return State(kind, name, state, why) if missing else State(kind, name, *otherwise)

    every = []
    for item in _ITEMS:
        is_run = any(one.role == item.role and one.name.startswith(item.finding) for one in found)
        without = (NOT_RUN, _NO_REASON)
        if item.kind == _CONTROL and not has_reference:
            without = (NOT_POSSIBLE, "There is no reference to be a control of.")
            if not is_run:
                rest.pop(item.name, None)
        every.append(of(item.kind, item.name, is_run, without))
    every += [State(_ATTACK, name, RUN) for name in verdicts]
    every += [of(_ATTACK, name, False, ("", "")) for name in (PERSONS, PLUS) if name in rest]
    every += [*_ELSEWHERE, *_of_photos(content)]
    every.append(of(_PHOTOS, CHANGED, bool(content["robustness"]["rows"]), (NOT_RUN, _NO_REASON)))
    every += [of(_CONTROL, name, False, ("", "")) for name in list(rest)]
    # Those of one kind and reason are one row, in the order of the first.
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in every:
        alike.setdefault((one.kind, one.state, one.why), []).append(one.name)
    return [State(kind, "; ".join(names), state, why) for (kind, state, why), names in alike.items()]


def _of_photos(content: Mapping[str, Any]) -> list[State]:
    single = str(content["photos"]).removeprefix("Single photos: ")
    scan = str(content.get("audited", {}).get("photos", {}).get("scan", ""))
    return [
        State(_PHOTOS, "single photos", NOT_POSSIBLE, single)
        if single.startswith("no p-values")
        else State(_PHOTOS, "single photos", RUN),
        State(_PHOTOS, "several photos of a person", RUN)
        if content["people"]
        else State(_PHOTOS, "several photos of a person", NOT_POSSIBLE,
                   f"It takes {verdict.MIN_PEOPLE} people with photos on both sides."),
        State(_PHOTOS, "search for copies and shared people",
              RUN if scan and not scan.startswith("NOT SCANNED") else NOT_RUN, scan or _NO_REASON),
    ]  # fmt: skip


def read(content: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> list[State]:
    """Returns the states that an audit.json says, or what follows from the sentences "NAME: why." of an older one.

    Raises:
        InputError: if something has no state, or no reason why it was not run.
    """
    if "states" not in content:
        return states(content, verdicts, map(_from_sentence, content["not_measured"]))
    found = [State(**one) for one in content["states"]]
    for one in found:
        if one.state not in (RUN, NOT_RUN, NOT_POSSIBLE) or (one.state != RUN and not one.why):
            raise InputError(f"Expected each state to be run, or not and why, received {one.name!r}: {one.state!r}.")
    return found


def _from_sentence(line: str) -> Gap:
    """Reads what audits said before schema 3: a sentence that names an option says what would have run it."""
    known = {PERSONS: PERSONS, PLUS: PLUS, "Photos that were changed": CHANGED}
    known |= {item.sentence: item.name for item in _ITEMS}
    begins = next((one for one in known if line.startswith(one)), line.partition(":")[0])
    why = line.removeprefix(begins).removeprefix(": ").strip()
    return Gap(known.get(begins, begins), NOT_RUN if "--" in line else NOT_POSSIBLE, why)
