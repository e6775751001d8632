"""The table that ends a run, and what it says in a sentence: pure functions of scores."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mint_keras.data import protocol
from mint_keras.records import AUDITED, UNTRAINED, Scores
from mint_keras.report import tables
from mint_keras.statistics import division, figures, intervals, selection
from mint_keras.statistics.intervals import Estimate

ACCURACY, AUC, UNTRAINED_COPY, SAME, FAMILIAR = "accuracy", "AUC", "untrained copy", "same database", "familiar"
UNTRAINED_SAME = "untrained copy, same database"  # not shown: what a finding in the same database has to beat
_SHOWN = (ACCURACY, AUC, UNTRAINED_COPY, SAME, FAMILIAR)
# Where the scores of a column come from: the model (`Scores.model`) and the evaluation, "" for the run's main one.
_PLACES = {
    ACCURACY: (AUDITED, ""),
    AUC: (AUDITED, ""),
    UNTRAINED_COPY: (UNTRAINED, ""),
    SAME: (AUDITED, protocol.SAME_DATABASE),
    UNTRAINED_SAME: (UNTRAINED, protocol.SAME_DATABASE),
    FAMILIAR: (AUDITED, protocol.FAMILIAR),
}
_PLUS, _NOT_SHOWN = "MINT+ by ", "combination+outcome"
_ALPHA = 0.05
TOLD_APART, MIXED, DATABASE, NOTHING, NOT_RUN = "told apart", "mixed", "database", "nothing", "not run"
_Row = Mapping[str, Estimate]


@dataclasses.dataclass(frozen=True)
class RunTable:
    """What a run found, without rounding.

    Attributes:
        head: The name of its heads.
        rows: Figures with intervals by row and column; what was not run has no entry.
        adjusted_p: By row, the p-value that members score no higher than others of their own database, adjusted for all
            rows that were tried.
    """

    head: str
    rows: Mapping[str, _Row]
    adjusted_p: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON has it, with what it says."""
        outcome, text = conclude(self)
        content = dataclasses.asdict(self)
        rows = [{"row": name, "figures": row} for name, row in content["rows"].items()]  # JSON keeps no other order
        return {**content, "rows": rows, "outcome": outcome, "conclusion": text}


def measure(scores: Sequence[Scores], plus: Sequence[Scores], head: str, main: str, seed: int = 1) -> RunTable:
    """Measures the rows of a table: the head's taps, the combination, the outcome, baselines, and MINT+ last.

    Args:
        scores: Scores of a run, every training of every head.
        plus: Cross-fitted scores of MINT+ between people of the members' own database, through both models.
        head: The name of the run's heads.
        main: The evaluation of members against externals.
        seed: Seeds the intervals.
    """
    kinds = selection.candidates(scores, main)
    parts: dict[str, dict[str, Sequence[Scores]]] = {}
    for kind in sorted(kinds, key=lambda kind: (kind.name != head, kind.name == head and kind.tap == "outcome")):
        has_several = sum(other.name == kind.name for other in kinds) > 1
        plain = kind.name.replace("_", " ") + (f", {kind.tap}" if has_several else "")
        parts[kind.tap if kind.name == head else plain] = {
            place: kind.parts(scores, evaluation or main, model)
            for place, (model, evaluation) in _PLACES.items()
            # Once is enough.
            if main != protocol.SAME_DATABASE or place not in (AUC, UNTRAINED_COPY)
        }
    for kind in selection.candidates(plus, protocol.SAME_DATABASE):
        found, others = (kind.parts(plus, protocol.SAME_DATABASE, model) for model in (AUDITED, UNTRAINED))
        nobody = division.without_membership(found, seed)
        parts[_PLUS + kind.tap] = {UNTRAINED_COPY: others, SAME: found, UNTRAINED_SAME: others, FAMILIAR: nobody}

    def estimate(place: str, of_place: Sequence[Scores]) -> Estimate:
        name = figures.ACCURACY if place == ACCURACY else figures.AUC
        return intervals.estimate(of_place, seed=seed, names=[name], method="student")[name]

    rows = {name: {place: estimate(place, of) for place, of in row.items() if of} for name, row in parts.items()}
    tried = {name: selection.p_above(row[SAME], seed=seed) for name, row in parts.items() if row[SAME]}
    return RunTable(head, rows, selection.holm(tried))


def cell(estimate: Estimate | None) -> str:
    """Returns a figure in two digits with its interval; what was not run is no number.

    Example:
        >>> cell(Estimate(0.9246, 0.845, 1.0, 3)), cell(None)
        ('.92 [.84,1.0]', '-')
    """
    if estimate is None:
        return "-"
    numbers = (f"{number:.2f}" for number in (estimate.value, estimate.low, estimate.high))
    value, low, high = ("1.0" if number == "1.00" else number.removeprefix("0") for number in numbers)
    return f"{value} [{low},{high}]"


def render(table: RunTable) -> str:
    """Returns the table as text of at most 100 columns; columns that nobody has are left out."""
    shown = [column for column in _SHOWN if any(column in row for row in table.rows.values())]
    rows = {name: row for name, row in table.rows.items() if name != _NOT_SHOWN}
    return tables.format_table(
        [[table.head, *shown], *([name, *(cell(row.get(column)) for column in shown)] for name, row in rows.items())]
    )


def conclude(table: RunTable) -> tuple[str, str]:
    """Says by rule what a table shows: one of `TOLD_APART`, `MIXED`, `DATABASE`, `NOTHING` and `NOT_RUN`, and words.

    Members are told apart if a row tells them from others of their own database, significantly although all rows were
    tried, and its controls do not; if its controls do so too, the result is mixed. Else a row may tell databases apart.
    That is no verdict: whether it is membership or how people look, only an audit's controls say.
    """
    asked = {name: row for name, row in table.rows.items() if SAME in row}
    if not asked:
        why = "nobody of the members' own database was kept out of the training, so that only databases are compared"
        return NOT_RUN, f"Nothing is said about membership: {why}."
    found = [name for name, row in asked.items() if row[SAME].low > 0.5 and table.adjusted_p[name] <= _ALPHA]
    # What must not tell the sides apart: an untrained copy, and for MINT+ people of whom nobody is a member.
    spoiled = {
        name: control
        for name in found
        for control in (UNTRAINED_SAME, *([FAMILIAR] if name.startswith(_PLUS) else []))
        if not _is_passed(asked[name].get(control), asked[name][SAME])
    }
    across = {name: far for name, row in table.rows.items() if (far := _distance(row.get(AUC))) > 0}
    said = []
    for is_plus, nobody in ((False, "No head or baseline tells"), (True, "MINT+ does not tell")):
        # The clearest of those that say most.
        ranks = {
            name: (name in found, name not in spoiled, row[SAME].low)
            for name, row in asked.items()
            if name.startswith(_PLUS) == is_plus
        }
        best = max(ranks, key=ranks.__getitem__, default="")
        found_by = best[:1].upper() + best[1:]
        what, same = "members from other people of their database", cell(asked.get(best, {}).get(SAME))
        if best in spoiled:
            control = asked[best].get(spoiled[best])
            why = f"so may its control ({spoiled[best]}, {cell(control)})" if control else "its control was not run"
            said.append(f"{found_by} tells {what}, {same}, but {why}.")
        elif best in found:
            said.append(f"{found_by} tells {what}: {same}, untrained {cell(asked[best].get(UNTRAINED_SAME))}.")
        elif best:
            by_luck = (
                f", p = {table.adjusted_p[best]:.2f} as the best of {len(asked)}" if asked[best][SAME].low > 0.5 else ""
            )
            said.append(f"{nobody} {what} (at most {best}: {same}{by_luck}).")
        elif is_plus:
            said.append("MINT+ was not run.")
        if across and not is_plus:
            # Of equals the first, as the last bits of a processor would decide who is clearest.
            clearest = max(across, key=across.__getitem__)
            value, of = table.rows[clearest][AUC].value, {name: table.rows[name][AUC] for name in across}
            most = next((name for name, one in of.items() if one.low <= value <= one.high), clearest)
            gives, familiar = (cell(table.rows[most].get(column)) for column in (AUC, FAMILIAR))
            said.append(f"Across databases {most} gives {gives}, and {familiar} where the claimed members are none.")
    is_clean = len(found) > len(spoiled)
    return TOLD_APART if is_clean else MIXED if found else DATABASE if across else NOTHING, " ".join(said)


def _is_passed(control: Estimate | None, found: Estimate) -> bool:
    """Says whether a control was run, sees no difference itself, and is exceeded by what was found."""
    return control is not None and _distance(control) <= 0 and found.low > control.value


def _distance(estimate: Estimate | None) -> float:
    """Returns how far an interval lies from chance, on whatever side; at most 0 if it does not."""
    return -1.0 if estimate is None else max(estimate.low - 0.5, 0.5 - estimate.high)
