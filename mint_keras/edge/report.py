"""Writes what scoring found as text, as tables, as JSON and as a page that needs nothing but a browser."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np

from mint_keras import formats, languages, score_files
from mint_keras.edge.bundle import Bundle, FieldCalibration
from mint_keras.edge.judgement import Judgement
from mint_keras.records import Rejected, Scores
from mint_keras.statistics import conformal

FACES, REPORT, JSON = "faces.csv", "report.html", "scores.json"
_SHOWN = 20
_SHOWN_IN_PAGE = 1000
_COLUMNS = (
    "sample_id", "file", "face", "faces_in_photo", "left", "top", "right", "bottom", "certainty", "score", "logit",
    "share_above", "p_value", "selected", "abstained", "mistakes",
)  # fmt: skip
# In units of the drawing; templates/parts.html has the same numbers.
_WIDTH, _HEIGHT, _BINS = 600.0, 120.0, 40


@dataclasses.dataclass(frozen=True)
class PhotoScores:
    """What a bundle says about some photos: of each face, in the order of the scores, and of everybody with several.

    Rejected photos have no usable face; what was left out is no photo, or the same as another. Resized faces were crops
    of other sizes than 112x112. Scores are withheld where they would mean nothing: most faces are unlike those that the
    bundle was calibrated with. Pages are in the language, tables and JSON in English.
    """

    bundle: Bundle
    calibration: FieldCalibration | None
    scores: Scores
    faces: Sequence[Judgement]
    persons: Sequence[Judgement]
    rejected: Sequence[Rejected]
    num_photos: int
    num_resized: int
    left_out: Sequence[Rejected] = ()
    is_withheld: bool = False
    language: str = languages.ENGLISH

    @property
    def counts(self) -> str:
        """How many photos there were, and what came of them."""
        num_used = self.num_photos - len(self.rejected)
        counts = (
            f"Photos with a usable face: {num_used:,} of {self.num_photos:,}, without: {len(self.rejected):,}. Faces: "
            f"{len(self.faces):,}."
        )
        return f"{counts} Other files, not looked at: {len(self.left_out):,}." if self.left_out else counts

    @property
    def num_people(self) -> int:
        """How many people faces are compared with."""
        of_databases = {} if self.calibration is None else self.calibration.photos.calibration.logits
        return sum(map(len, of_databases.values()))

    @property
    def verdict(self) -> str:
        """What may be concluded, in the bundle's own words."""
        if self.calibration is None:
            return "The bundle is not calibrated: no verdict. Scores rank the photos; they say nothing else."
        if self.is_withheld:
            return (
                f"No scores: {sum(face.is_odd for face in self.faces):,} of {len(self.faces):,} faces look unlike all "
                "that this bundle was calibrated with, so its scores would say nothing about them. Use a bundle that "
                "was made with such photos. The option --anyway shows the scores all the same."
            )
        wording, units = self.calibration.wording, [*self.faces, *self.persons]
        if all(unit.p_value is None for unit in units):
            why = self.calibration.photos.silence_in_words()
            why = why or "No face is like those that the bundle was calibrated with."
            return " ".join(("No verdict.", why, wording["silent"]))
        judged = [sum(unit.is_selected is not None for unit in side) for side in (self.faces, self.persons)]
        found = [sum(bool(unit.is_selected) for unit in side) for side in (self.faces, self.persons)]
        said = f"{found[0]:,} of {judged[0]:,} faces stand out"
        if judged[1]:
            said = f"{said}, and {found[1]:,} of {judged[1]:,} persons by all of their photos"
        return f"{said}. {wording['selected' if any(found) else 'none']}"

    @property
    def notes(self) -> list[str]:
        """What else has to be known, in lines of one sentence or two."""
        notes, num_odd = [], sum(face.is_odd for face in self.faces)
        if 2 * num_odd > len(self.faces) and not self.is_withheld:
            notes.append(
                f"These scores mean nothing: {num_odd:,} of {len(self.faces):,} faces are unlike all known here."
            )
        elif num_odd and not self.is_withheld:
            notes.append(f"{num_odd:,} of {len(self.faces):,} faces are unlike the calibration's, so take care.")
        if self.num_resized:
            notes.append(
                f"{self.num_resized:,} images were not 112x112 and were resized without alignment: trust them less."
            )
        if num_copies := sum(face.is_copy for face in self.faces):
            notes.append(
                f"{num_copies:,} photos are copies of another photo of the same person, and are not counted again."
            )
        if num_several := sum(one.is_several for one in self.persons):
            notes.append(
                f"{num_several:,} of {len(self.persons):,} folders seem to show several people, and are not judged as "
                "one. Give each person a folder of their own, or use --albums."
            )
        alone = [one for one in self.persons if not one.is_several]
        if judged := [one.face for one in alone if one.face and one.p_value is None]:
            # Without a calibration nobody is judged.
            assert self.calibration is not None  # noqa: S101
            notes.append(f"No p-values for persons: {self.calibration.persons[min(judged)].silence_in_words()}")
        num = sum(unit.is_selected is not None for unit in [*self.faces, *self.persons])
        if self.calibration is not None and not self.calibration.photos.silence and num:
            notes.append(conformal.describe_floor(self.calibration.photos.calibration, num))
        if any(face.p_value is not None for face in self.faces):
            notes.append(conformal.MARGINAL)
        if any(unit.mistakes is not None for unit in [*self.faces, *self.persons]):
            notes.append(conformal.PICKED)
        return notes

    @property
    def limits(self) -> str:
        """What the bundle cannot say, in one line."""
        if self.calibration is None:
            return "Limits: a score is no proof that a photo was used."
        return self.calibration.wording["limits"]


def rank(share: float | None, num: int) -> str:
    """Says in words how many of so many people who are no members score as high, from their share; "" without."""
    if share is None:
        return ""
    if not share:
        return f"Nobody of {num:,} people who were not in the training data scores as high."
    of = 100 if share >= 0.005 else 1000
    return f"Of {of:,} people who were not in the training data, about {max(1, round(of * share)):,} score as high."


def write(out: Path, made: PhotoScores) -> None:
    """Writes scores.csv, faces.csv, scores.json, report.html, and rejected.csv if there is something in it."""
    formats.write_rejected(out / formats.REJECTED, [*made.rejected, *made.left_out])
    # scores.csv has the columns of every other scores.csv, so that whatever reads scores need not change.
    if made.is_withheld:
        (out / formats.SCORES).unlink(missing_ok=True)
    else:
        score_files.write_scores(out / formats.SCORES, [made.scores])
    rows = []
    for face in made.faces:
        box = [""] * 4 if face.box is None else [f"{edge:.1f}" for edge in face.box]
        is_selected = "" if face.is_selected is None else str(face.is_selected).lower()
        place = (face.name, face.file, face.face, face.of, *box, _number(face.certainty))
        logits = ("", "") if made.is_withheld else (repr(face.score), str(np.float32(face.logit)))
        share = "" if made.is_withheld else _number(face.share_above)
        rows.append((
            *place, *logits, share, _number(face.p_value), is_selected, face.abstained, _number(face.mistakes)
        ))  # fmt: skip
    formats.write_csv(out / FACES, _COLUMNS, rows)
    made_by = {name: made.bundle.manifest[name] for name in ("seal", "inputs")}
    hidden = {"score": None, "logit": None, "share_above": None} if made.is_withheld else {}
    content = {
        "bundle": {"head": made.bundle.head, "tap": made.bundle.tap, **made_by},
        **{name: getattr(made, name) for name in ("verdict", "notes", "limits", "num_photos", "is_withheld")},
        "faces": [face.to_dict() | hidden for face in made.faces],
        "persons": [] if made.is_withheld else [one.to_dict() for one in made.persons],
        **{name: [dataclasses.asdict(one) for one in getattr(made, name)] for name in ("rejected", "left_out")},
    }
    formats.write_json(out / JSON, content)
    formats.write_text(out / REPORT, html(made))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def text(made: PhotoScores, out: Path | None) -> str:
    """Returns what a terminal shows: the highest scores, persons, counts, the folder if any, verdict and limits."""
    say = languages.of(made.language).say
    first = [note for note in made.notes if "mean nothing" in note]
    lines = [*map(say, first), *_table(made.faces, "image", say)]
    if made.persons:
        lines += ["", *_table(made.persons, "person", say), ""]
    scored = f"Scored by the {made.bundle.head} head on {made.bundle.tap}"
    if out is not None:
        scored = f"{scored}: {out / formats.SCORES}, {FACES}, {JSON}, {REPORT}"
    best = max(made.faces, key=lambda face: face.logit)
    # What sounds like a finding is not said by a bundle that points at others, too.
    is_silent = made.calibration is None or bool(made.calibration.photos.silence)
    above = "" if is_silent or first else rank(best.share_above, made.num_people)
    highest = f"The highest: {above}" if above else ""
    said = map(say, [highest, made.counts, scored, made.verdict, *made.notes[len(first) :], made.limits])
    return "\n".join(filter(None, [*lines, *said]))


def why(rejected: Rejected, language: languages.Language) -> str:
    """Says why a file could not be used."""
    return f"{printable(rejected.location)}: {language.say(rejected.reason)}"


def printable(name: str) -> str:
    r"""Returns a name in one line and without anything that steers a terminal: `\n` and the like are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _table(findings: Sequence[Judgement], what: str, say: Callable[[str], str]) -> list[str]:
    """Returns the highest scores first, with the share of others who score as high, and not the scores themselves.

    A score looks like a probability, and is none. Columns that say nothing are left out.
    """
    ordered = sorted(findings, key=lambda one: -one.logit)
    has_above = any(one.share_above is not None for one in findings)
    has_p = any(one.p_value is not None for one in findings)
    rows = [(f"{say('as high'):>7}", "      p", f"{say('mistakes'):>8}", say(what))]
    for one in ordered[:_SHOWN]:
        above = "-" if one.share_above is None else f"{one.share_above:.1%}"
        p = "-" if one.p_value is None else f"{one.p_value:.2g}"
        mistakes = "-" if one.mistakes is None else f"<= {one.mistakes}"
        mark = f" * {say('stands out')}" if one.is_selected else ""
        why = f" ({say(one.abstained)})" if one.abstained and has_p else ""
        name = f"{printable(one.name)}{mark}{why}"
        rows.append((f"{above:>{len(rows[0][0])}}", f"{p:>7}", f"{mistakes:>{len(rows[0][2])}}", name))
    lines = ["  ".join(itertools.compress(row, (has_above, has_p, has_p, True))) for row in rows]
    if len(ordered) > _SHOWN:
        lines.append(say(f"... and {len(ordered) - _SHOWN:,} more"))
    return lines


def html(made: PhotoScores) -> str:
    """Returns the report as one page that has no scripts and loads nothing from elsewhere."""
    ordered = sorted(made.faces, key=lambda face: -face.logit)
    template = environment(made.language).get_template("report.html")
    return template.render(
        made=made,
        faces=ordered[:_SHOWN_IN_PAGE],
        num_left_out=max(0, len(ordered) - _SHOWN_IN_PAGE),
        persons=sorted(made.persons, key=lambda one: -one.logit),
        histogram=None if made.is_withheld else histogram(made.calibration, ordered),
        has_p=any(face.p_value is not None for face in ordered),
        has_pictures=any(face.picture for face in ordered),
        manifest=made.bundle.manifest,
    )


def environment(language: str = languages.ENGLISH) -> jinja2.Environment:
    """Returns the templates of pages in a language."""
    found = languages.of(language).templates("mint_keras.edge")
    found.filters["rank"] = rank
    found.filters["up_to"] = lambda value: "" if value is None else f"≤ {value}"
    found.filters["number"] = lambda value: "" if value is None else f"{value:.2g}"
    return found


class Histogram(NamedTuple):
    """Bars (x, y, width, height) of calibration people, and marks (x, stands out) of faces, by their logits.

    All are in units of a drawing of 600x120; the caption says whose the bars are.
    """

    bars: list[tuple[float, float, float, float]]
    marks: list[tuple[float, bool]]
    caption: str


def histogram(calibration: FieldCalibration | None, faces: Sequence[Judgement]) -> Histogram | None:
    """Returns faces against the calibration people of a bundle; None if it has none."""
    if calibration is None:
        return None
    of_databases = calibration.photos.calibration.logits
    people = np.concatenate(list(of_databases.values()))
    every = np.concatenate([people, [face.logit for face in faces]])
    low, high = float(every.min()), float(every.max())
    pad = 0.02 * (high - low) or 1.0
    low, high = low - pad, high + pad
    counts, edges = np.histogram(people, _BINS, (low, high))

    def at(logit: float) -> float:
        return round(_WIDTH * (logit - low) / (high - low), 2)

    heights = _HEIGHT * counts / max(counts.max(), 1)
    width = round(_WIDTH / _BINS - 1, 2)
    sides = zip(edges[:-1].tolist(), heights.tolist(), strict=True)
    bars = [(at(edge), round(_HEIGHT - height, 2), width, round(height, 2)) for edge, height in sides if height]
    marks = [(at(face.logit), bool(face.is_selected)) for face in faces[:_SHOWN_IN_PAGE]]
    names = ", ".join(f"{name}: {len(values):,}" for name, values in of_databases.items())
    caption = (
        f"Grey bars: people who were not in the training data ({names}), each with their highest score. Lines below: "
        "the faces in these photos. Farther right is higher."
    )
    return Histogram(bars, marks, caption)
