"""A check by looking at databases: do their names tell people apart? It proposes, and whoever looks decides."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mint_keras import vectors
from mint_keras.aad.observe import observe
from mint_keras.audited import embedding, taps, zoo
from mint_keras.auditing.look import pictures
from mint_keras.data import identity_list, images, samples, splits
from mint_keras.data.identity_list import Line
from mint_keras.data.people import are_unknown
from mint_keras.records import InputError, Observations, SampleTable
from mint_keras.statistics import identities

_NUM_SHOWN = 12  # proposals of each kind on the sheet
_NUM_FACES = 5  # of each of two people


class Proposal(NamedTuple):
    """Lines that belong together, and the rows of those meant and of those whom they look like, or do not."""

    lines: list[Line]
    rows: np.ndarray
    others: np.ndarray


class Checked(NamedTuple):
    """What a network says of the names of databases.

    Attributes:
        lines: What it proposes, the least certain first of each kind, to be obeyed from top to bottom.
        said: What it found, in plain English.
        sheet: Faces by the row of the sheet: those meant, a gap, and those whom they look like, or do not.
    """

    lines: list[Line]
    said: list[str]
    sheet: dict[str, list[np.ndarray | None]]


def look(tables: Sequence[SampleTable], model: Path) -> Checked:
    """Compares all photos of some sources, and proposes whom to merge, split and drop.

    Args:
        tables: The samples of each source. Sources are sides of a comparison: whoever is in a later one under another
            name is dropped there, and so is whoever is in two databases.
        model: The folder of a face-recognition model, or its name on the shelf.

    Raises:
        InputError: if it takes no faces, or two sources have the same sample.
    """
    if zoo.kind_of(model) != zoo.KIND:
        raise InputError(f"Expected a face-recognition model to say who is who, received the classifier {model}.")
    table = samples.join(tables)
    embed = embedding.open_model(model).embed
    seen = observe(table, lambda faces: {taps.OUTCOME: embed(faces)}, zoo.framing(model))
    said = [f"Compared {len(seen)} of {len(table)} photos by {model.name}."]
    is_unknown = are_unknown(seen.people())
    proposals = _groups(seen, np.flatnonzero(is_unknown), said)
    known = seen.take(~is_unknown)
    if len(known):
        small = pictures(known.table)
        competence = identities.competence(known[taps.OUTCOME], known.people(), small)
        said.append(competence.describe())
        if competence.is_competent:
            source_of = {name: k for k, part in reversed(list(enumerate(tables))) for name in part.people().tolist()}
            proposals += _names(seen, np.flatnonzero(~is_unknown), small, source_of, said)
        else:
            said.append("Names were not checked.")
    lines: list[Line] = []
    sheet: dict[str, list[np.ndarray | None]] = {}
    for action in dict.fromkeys(proposal.lines[0].action for proposal in proposals):
        for k, (proposed, *sides) in enumerate(one for one in proposals if one.lines[0].action == action):
            if is_shown := k < _NUM_SHOWN:
                faces = [list(images.read_faces(seen.table.take(rows[:_NUM_FACES]))[1]) for rows in sides if len(rows)]
                sheet[f"{len(sheet) + 1} {action}"] = [*faces[0], None, *(faces[1] if len(faces) > 1 else ())]
            lines += [line._replace(row=is_shown * len(sheet)) for line in proposed]
    return Checked(lines, said, sheet)


def _groups(seen: Observations, rows: np.ndarray, said: list[str]) -> list[Proposal]:
    """Proposes groups of photos, of which nobody knows whose they are, database by database."""
    found = []
    database = seen.table.database[rows]
    for name in np.unique(database).tolist():
        of = rows[database == name]
        person, threshold = identities.unnamed_people(seen[taps.OUTCOME][of])
        groups = [of[group] for group in splits.rows_by_person(person) if len(group) > 1]
        for k, group in enumerate(sorted(groups, key=len, reverse=True), start=1):
            lines = [
                Line(identity_list.SPLIT, who, sample, f"{name}/group {k}", threshold)
                for who, sample in zip(seen.people()[group].tolist(), seen.table.sample_id[group].tolist(), strict=True)
            ]
            found.append(Proposal(lines, group, group[_NUM_FACES:]))
        said.append(
            f"Of {len(of)} photos of unknown identity of {name}, {sum(map(len, groups))} are in {len(groups)} groups "
            f"that look like one person each (cosines of {threshold:.3f} on average). Whether the network knows such "
            "faces could not be tried."
        )
    return found


def _names(
    seen: Observations, rows: np.ndarray, small: identities.Pictures, source_of: dict[str, int], said: list[str]
) -> list[Proposal]:
    """Proposes whom of those with a name to split, and then whom to merge, or to drop where sides must stay apart."""
    people, embeddings = seen.people()[rows], seen[taps.OUTCOME][rows]
    several = identities.several_people(embeddings, people)
    called = several.called(people)
    origin = dict(zip(called.tolist(), people.tolist(), strict=True))
    rows_of = {str(called[places[0]]): places for places in splits.rows_by_person(called)}
    found = []
    for name in sorted(origin, key=lambda name: -several.cosine.get(origin[name], 1.0)):
        if (whole := origin[name]) != name:
            sample_id = seen.table.sample_id[rows[rows_of[name]]].tolist()
            lines = [Line(identity_list.SPLIT, whole, sample, name, several.cosine[whole]) for sample in sample_id]
            found.append(Proposal(lines, rows[rows_of[name]], rows[rows_of[whole]]))
    merged = identities.same_people(embeddings, called, small)
    said += [several.describe(), merged.describe()]
    units = vectors.unit_rows(vectors.unit_rows(embeddings) - vectors.unit_rows(embeddings).mean(axis=0))
    same = []
    for group in merged.groups:
        first, *others = sorted(group, key=lambda name: (source_of[origin[name]], name))
        for name in others:
            ends = [units[rows_of[one]].mean(axis=0, keepdims=True) for one in (name, first)]
            cosine = float(vectors.cosines(*ends)[0])
            place = [(source_of[origin[one]], one.partition("/")[0]) for one in (name, first)]
            action = identity_list.MERGE if place[0] == place[1] else identity_list.DROP
            line = Line(action, name, "", first if action == identity_list.MERGE else "", cosine)
            same.append(Proposal([line], rows[rows_of[name]], rows[rows_of[first]]))
    return found + sorted(same, key=lambda one: one.lines[0].cosine)
