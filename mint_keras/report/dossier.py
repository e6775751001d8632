"""The report of an audit from its audit.json: a first page for people, annexes for experts, as HTML, PDF and text.

Nothing is measured or decided here: whoever has the folder of an audit can make its report again.
"""

import base64
import dataclasses
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mint_keras import formats, languages
from mint_keras.borders import reading
from mint_keras.records import InputError, RefusedError
from mint_keras.report import pdf, plots, states
from mint_keras.report.states import RUN, State
from mint_keras.statistics import decisions, findings, names, verdict
from mint_keras.statistics.decisions import Decision
from mint_keras.statistics.findings import Finding
from mint_keras.statistics.intervals import Estimate
from mint_keras.statistics.verdict import Verdict

AUDIT, CASE = "audit.json", "case.json"
VERDICT, REPORT, PDF = "verdict.txt", "report.html", "report.pdf"
FINDINGS, POWER, ROBUSTNESS = "findings", "power", "robustness"
SCHEMA_VERSION = 3  # of audit.json; 1 knew neither what was audited nor the decisions, 2 had sentences for states
_MOST_COLUMNS = 4  # scorers of a table: more would be a word a line on paper
# Options that name something of the auditor's machine, and what of it a manifest has the SHA-256 of.
_PLACES = {
    **dict.fromkeys(("audited", "look", "swap", "foreign", "reference"), "its model.keras"),
    **dict.fromkeys(("members", "externals", "held-out", "evaluate"), "the list of all photos of the run"),
    **dict.fromkeys(("unseen-photos", "nulls"), "the list of its photos"),
    "run": "its scores.csv",
    "weights": "the file itself",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Whose audit it is, all of it said by the auditor and nothing of it inferred; "" for what is not said.

    The language is a key of `languages.NAMES`: of the report, and not of audit.json.
    """

    case: str = ""
    author: str = ""
    release: str = ""
    language: str = ""

    def __post_init__(self) -> None:
        languages.of(self.language or languages.ENGLISH)  # one that there is none of shows before anything takes long


class Table(NamedTuple):
    """Rows of one reference with a column for each scorer: what is compared, and what each found."""

    decision: Decision
    scorers: Sequence[str]
    rows: Mapping[str, Sequence[Finding | None]]


class Read(NamedTuple):
    """An audit as its folder has it."""

    content: Mapping[str, Any]
    verdicts: Mapping[str, Verdict]
    decisions: Sequence[Decision]
    states: Sequence[State]

    @property
    def outcome(self) -> str:
        """What the audit says."""
        return decisions.outcome(self.decisions)


def read(folder: Path) -> Read:
    """Reads the audit.json of a folder, and decides once more from what it says that was found.

    Raises:
        InputError: if there is no audit, or one with figures that are none.
        RefusedError: if its outcome or its decisions are not what follows from its verdicts, or these not what follows
            from their findings by the rule.
    """
    if not (folder / AUDIT).is_file():
        raise InputError(f"Expected the folder of a finished audit with {AUDIT}, received {folder}.")
    content = {"identities": [], **formats.read_json(folder / AUDIT)}  # the first version asked nobody who is who
    with reading(f"an audit in {folder / AUDIT}"):
        verdicts = {name: Verdict.of(decided) for name, decided in content["verdicts"].items()}
        decided, by_rule = decisions.decide_once(verdicts), _by_rule(verdicts)
        said = [(one["reference"], one["outcome"]) for one in content.get("decisions", ())]
        is_changed = decisions.outcome(decided) != content["outcome"]
        is_changed |= bool(said) and sorted(said) != sorted((one.reference, one.outcome) for one in decided)
        if "schema_version" not in content:
            # The first version asked no look network and no direction, which evidence takes since. A file that says
            # nothing of its version, as anybody can make one, is believed no more than its findings are.
            verdicts, decided = by_rule, decisions.decide_once(by_rule)
        if is_changed or _outcomes(verdicts) != _outcomes(by_rule):
            raise RefusedError(
                f"{folder / AUDIT} says {content['outcome']!r}, which does not follow from what it says was found: it "
                "was changed. Make the audit again."
            )
        return Read(content, verdicts, decided, states.read(content, verdicts))


def _by_rule(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Returns what the rule of today says of the findings of verdicts."""
    spoiled: dict[str, list[Finding]] = {}
    for one in verdict.taints(finding for decided in verdicts.values() for finding in decided.findings):
        spoiled.setdefault(one.evaluation, []).append(one)
    return {name: verdict.decide(said.findings, spoiled) for name, said in verdicts.items()}


def _outcomes(verdicts: Mapping[str, Verdict]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(one.outcome, [(said.reference, said.outcome) for said in one.assessments]) for one in verdicts.values()]


def write(folder: Path, case: Case, time: str = "") -> list[str]:
    """Writes the report of a finished audit beside its audit.json; returns the names of the files.

    Args:
        folder: The folder of the audit.
        case: Whose audit it is. What it says replaces what was said before.
        time: When the audit was made, if no report has said so yet; "" if nobody knows any more.
    """
    found = read(folder)
    manifest = formats.read_json(folder / formats.MANIFEST) if (folder / formats.MANIFEST).is_file() else {}
    earlier = formats.read_json(folder / CASE) if (folder / CASE).is_file() else {}
    said = {name: value or earlier.get(name, "") for name, value in dataclasses.asdict(case).items()}
    parts = found.content.get("audited", {}).get("photos", {}).get("parts", {})
    # Scorers and databases have the same names in every language.
    names = [*found.verdicts, *(name for part in parts.values() for name in part["databases"])]
    spoken = languages.Language(said["language"] or languages.ENGLISH, names)
    formats.write_json(folder / CASE, {**said, "time": earlier.get("time") or time})
    with reading(f"the figures of an audit in {folder / AUDIT}"):
        plain, pictures = spoken.say(text(found)), _draw(found, folder, spoken)
    formats.write_text(folder / VERDICT, plain)
    files = {path.name: formats.sha256_file(path) for path in (folder / AUDIT, folder / CASE, *pictures.values())}
    with reading(f"an audit with its manifest in {folder}"):
        shown = {name: path.read_bytes() for name, path in pictures.items()}
        page = render(found, manifest, formats.read_json(folder / CASE), files, shown, spoken)
    formats.write_text(folder / REPORT, page)
    if not (has_pdf := pdf.write(folder / PDF, page)):
        (folder / PDF).unlink(missing_ok=True)  # one of before would say something else
    return [*([PDF] if has_pdf else []), REPORT, VERDICT, *(path.name for path in pictures.values())]


def copy(audit: Path, out: Path, case: Case) -> list[str]:
    """Makes the report of a finished audit again, in its own folder or in an empty one; see `write`.

    Raises:
        InputError: if there is no audit, or another one in the folder for the report.
        RefusedError: if it was changed.
    """
    read(audit)
    with formats.alone(out):
        if audit.resolve() != out.resolve():
            if any(out.iterdir()):
                raise InputError(f"Expected --out to be an empty folder or the audit's own, received {out}.")
            for name in (AUDIT, CASE, formats.MANIFEST):
                if (audit / name).is_file():
                    shutil.copyfile(audit / name, out / name)
        return write(out, case)


def render(
    found: Read,
    manifest: Mapping[str, Any],
    case: Mapping[str, str],
    files: Mapping[str, str],
    pictures: Mapping[str, bytes],
    language: languages.Language,
) -> str:
    """Returns the page of an audit: one HTML file that needs nothing else, for the screen and for paper.

    Args:
        found: The audit.
        manifest: Its manifest; {} if it is lost.
        case: The content of case.json.
        files: SHA-256 of the files that are its result, by name.
        pictures: PNG files by name, `FINDINGS`, and `POWER` and `ROBUSTNESS` where there are such curves.
        language: What it is written in.
    """
    environment = language.templates("mint_keras.report")
    environment.filters["estimate"] = lambda one: str(Estimate(**one) if isinstance(one, Mapping) else one)
    rows = [row for decided in found.verdicts.values() for row in decided.findings]
    made_by = [*found.content.get("steps", []), *([manifest] if manifest else [])]
    filled = [_fill_in(one) for one in made_by]
    return environment.get_template("audit.html").render(
        found=found,
        content=found.content,
        audited=found.content.get("audited"),
        headline=verdict.headline(found.outcome, found.decisions),
        tables=tables(found),
        changes=list(dict.fromkeys(row["change"] for row in found.content["robustness"]["rows"])),
        across=_across(found),
        meanings={role: meaning for role, meaning in findings.ROLES.items() if any(row.role == role for row in rows)},
        limits=verdict.LIMITS,
        manifest=manifest,
        scorers={name: names.plain(name) for name in found.verdicts},
        looked=dict(names.plain(one.scorer) for one in found.decisions if one.scorer),
        needed=_photos_needed(found.content),
        steps=[{"command": command} for command, _ in filled],
        places={what: digest for _, places in filled for what, digest in places.items()},
        case=case,
        files=files,
        # The page is one file that loads nothing: its pictures are in it.
        pictures={name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pictures.items()},
    )


def tables(found: Read) -> list[Table]:
    """Returns what was measured of every reference, with at most a few scorers beside one another."""
    made = []
    for one in found.decisions:
        for start in range(0, len(one.scorers) if one.reference else 0, _MOST_COLUMNS):
            scorers = one.scorers[start : start + _MOST_COLUMNS]
            columns = [_of_reference(found.verdicts[scorer], one.reference) for scorer in scorers]
            names = dict.fromkeys(name for column in columns for name in column)
            made.append(Table(one, scorers, {name: [column.get(name) for column in columns] for name in names}))
    return made


def _of_reference(decided: Verdict, reference: str) -> dict[str, Finding]:
    """Returns a reference and its controls by name, as one scorer has them."""
    evaluation = next(one.evaluation for one in decided.findings if one.name == reference)
    aside = (findings.CLAIM, findings.CONTEXT)
    return {one.name: one for one in decided.findings if one.evaluation == evaluation and one.role not in aside}


def _across(found: Read) -> list[tuple[str, Finding]]:
    """Returns what was measured across databases, with its scorer: for the record, and deciding nothing."""
    aside = (findings.CLAIM, findings.CONTEXT)
    return [(name, one) for name, decided in found.verdicts.items() for one in decided.findings if one.role in aside]


def text(found: Read) -> str:
    """Returns the report as text: the verdict, every reference with what it rests on, and what was not run."""
    content = found.content
    lines = [f"Verdict: {found.outcome}", verdict.headline(found.outcome, found.decisions)]
    for one in found.decisions:
        speaks = f"{one.reference}, of the {one.truth}" if one.reference else "no reference"
        lines += ["", f"== {speaks}: {one.outcome} ==", "", *one.plain]
        lines += [one.others] if one.others else []
        lines += ["", *one.sentences] if one.scorer else []
        for scorer in one.scorers if one.reference else ():
            reference = next(iter(_of_reference(found.verdicts[scorer], one.reference).values()))
            lines.append(f"{scorer}: AUC {reference.auc}.")
    if across := _across(found):
        lines += ["", "For the record, and deciding nothing:"]
        lines += [f"{row.name} ({row.question}): AUC {row.auc}, by {scorer}." for scorer, row in across]
    lines += ["", *content.get("identities", [])]
    lines += ["", *(
        f"Photos of each person: {point['num_photos']}, {name}: AUC {Estimate(**point['auc'])}."
        for name, curve in content["people"].items()
        for point in curve
    )]  # fmt: skip
    lines += _photos_needed(content)
    lines.append(content["photos"])
    lines += [
        f"{one['change']}, {one['scorer']}: AUC {Estimate(**one['auc'])}, false positives "
        f"{one['false_positives']:.3f}, true ones {one['true_positives']:.3f}."
        for one in content["robustness"]["rows"]
    ]
    lines += [""]
    lines += [f"{one.state.capitalize()}: {one.name}: {one.why}" for one in found.states if one.state != RUN]
    return "\n".join([*lines, "", verdict.LIMITS, ""])


def _photos_needed(content: Mapping[str, Any]) -> list[str]:
    """Says of every scorer how many photos of each person it takes to be rather sure of people."""
    wanted, people = content["photos_needed"]["auc"], content["people"]
    return [
        f"For an AUC of {wanted:g} with the whole of its interval, {name} needs {num} or more photos of each person."
        if num
        else f"For an AUC of {wanted:g} with the whole of its interval, {name} needs more than {len(people[name])} "
        "photos of each person."
        for name, num in content["photos_needed"]["by_scorer"].items()
    ]


def _draw(found: Read, folder: Path, language: languages.Language) -> dict[str, Path]:
    """Draws the pictures of the page; returns their files by name."""
    say = language.say

    def interval(one: Estimate) -> tuple[float, float, float]:
        return one.value, one.low, one.high

    content, paths = found.content, {FINDINGS: folder / f"{FINDINGS}.png"}
    groups: dict[str, dict[str, list[plots.Row]]] = {}
    for one in found.decisions:
        of = {scorer: _of_reference(found.verdicts[scorer], one.reference) for scorer in one.scorers if one.reference}
        groups[f"{say(one.reference)}: {say(one.outcome)}"] = {
            scorer: [(say(row.name), say(row.role), interval(row.auc)) for row in rows.values()]
            for scorer, rows in of.items()
        }
    for scorer, row in _across(found):
        aside = groups.setdefault(say("across databases, deciding nothing"), {}).setdefault(scorer, [])
        aside.append((say(row.name), say(row.role), interval(row.auc)))
    plots.save_findings(paths[FINDINGS], {name: of for name, of in groups.items() if of})
    if content["people"]:
        paths[POWER] = folder / f"{POWER}.png"
        axes: dict[str, dict[str, list[plots.Point]]] = {"AUC": {}, say("true positives at 1% false ones"): {}}
        for name, curve in content["people"].items():
            for figure, key in zip(axes, ("auc", "tpr_at_1_fpr"), strict=True):
                axes[figure][name] = [(point["num_photos"], *interval(Estimate(**point[key]))) for point in curve]
        plots.save_curves(paths[POWER], axes, say("photos of each person"))
    if changed := content["robustness"]["rows"]:
        paths[ROBUSTNESS] = folder / f"{ROBUSTNESS}.png"
        figures = ("AUC", say("true positives"), say("false positives"))
        panels: dict[str, dict[str, list[plots.Point]]] = {figure: {} for figure in figures}
        for row in changed:
            true, false = row["true_positives"], row["false_positives"]
            shown = (interval(Estimate(**row["auc"])), (true, true, true), (false, false, false))
            for curves, values in zip(panels.values(), shown, strict=True):
                curves.setdefault(row["scorer"], []).append((say(row["change"]), *values))
        plots.save_curves(paths[ROBUSTNESS], panels, say("change of the photos"))
    return paths


def _fill_in(step: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Returns a command with names in brackets for places of the auditor's machine, and SHA-256 of what belongs there.

    Args:
        step: A manifest, or of it the command, the SHA-256 of what was given (inputs), and the name of what was made.
    """
    inputs, left, option = step["inputs"], dict(step["inputs"]), ""
    words, places = [], {}
    for word in shlex.split(step["command"]):
        begins, equals, rest = word.partition("=") if word.startswith("--") else ("", "", word)
        option = begins.removeprefix("--") or option
        of, mark, path = rest.rpartition("=")
        name = Path(path).name
        # What is drawn, such as synthetic:1/web/0-9/2, lies nowhere.
        if option not in _PLACES or not path or ":" in path:
            words.append(shlex.quote(name if Path(path).is_absolute() else word))
            continue
        words.append(f"{begins}{equals}{of}{mark}[{name}]")
        for known in (f"{option} {name}", option.replace("-", " "), name, "samples"):
            if known in inputs:
                places[f"[{name}]: {_PLACES[option]}"] = inputs[known]
                left.pop(known, None)
                break
    words += ["--out", f"[{step.get('name', 'AUDIT')}]"]
    return " ".join(words), {**places, **{f"made from: {name}": digest for name, digest in left.items()}}
