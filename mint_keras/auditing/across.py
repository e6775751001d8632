"""What is compared across databases, or measured on our own code: for the record, and deciding nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from mint_keras import streams
from mint_keras.auditing import controls, frozen, pixels
from mint_keras.auditing.opened import Opened
from mint_keras.data import images, samples, splits, transplant
from mint_keras.data import protocol as protocols
from mint_keras.records import UNTRAINED, InputError, Observations, SampleTable, Scores, concatenate_tables
from mint_keras.statistics import division, findings
from mint_keras.statistics.findings import Finding
from mint_keras.training import batches

_NUM_FILES = 300  # whose headers say how a database's files were made
_NOT_USED = -1  # part of samples that a protocol leaves out
_CLAIM = "does the audited model tell members from externals of another database, as in the paper"
_HELD_OUT_CLAIM = "does the audited model tell members of a database that no head was trained on from externals"
_UNTRAINED = "does a network that was never trained tell the databases apart"
_FAMILIAR = "are people of the members' database whom the model never saw told from externals"
_BLIND = "do pixels alone tell the databases apart"
_MEMBER_DATABASE = "are members of a database that the scorer was not fitted on told from externals"
_PERMUTED = "does our own code see a difference between sides that were dealt out by lot"
_TRANSPLANT = "is it still so if the {whose} files are compressed and sized like the others'"
_RESOLUTION = "is it still so if all photos are first shrunk to {side} pixels, which those of both sides have"
_NULL_PAIR = "does the scorer tell two databases apart, nobody of which is a member"
Found = tuple[list[Finding], list[str]]


def measure(opened: Opened) -> Found:
    """Returns the paper's own claim and what else tells databases apart, and what could not be measured."""
    measures = {"Sides dealt out by lot": _permuted}
    if opened.run.protocol.main_evaluation != protocols.SAME_DATABASE:
        measures = {
            "Members and externals": _across,
            "Member database held out": _member_databases,
            **measures,
            "Pipeline transplant": _transplanted,
            "Resolution match": _resolution,
            "Null pairs": _null_pairs,
        }
    found, missing = [], []
    for name, measured in measures.items():
        try:
            rows, lines = measured(opened)
        except InputError as error:  # what decides nothing must not take the verdict with it
            rows, lines = [], [f"{name}: {error}"]
        found += rows
        missing += lines
    return found, missing


def _across(opened: Opened) -> Found:
    run, scores, seed = opened.run, opened.scores, opened.spec.seed
    main = run.protocol.main_evaluation
    claim = _HELD_OUT_CLAIM if main == protocols.UNSEEN_MEMBERS else _CLAIM
    wanted = {
        "members and externals": (claim, findings.CLAIM, opened.scorer.parts(scores, main)),
        "untrained copy, members and externals": (
            _UNTRAINED, findings.CONTEXT, opened.scorer.parts(scores, main, UNTRAINED),
        ),
        "familiar": (_FAMILIAR, findings.CONTEXT, opened.scorer.parts(scores, protocols.FAMILIAR)),
    }  # fmt: skip
    by_pixels = pixels.across(run, seed, opened.folder / "pixels" / main)
    wanted |= {f"{name}, members and externals": (_BLIND, findings.CONTEXT, [part]) for name, part in by_pixels.items()}
    return [
        findings.across(name, question, role, parts, seed=seed)
        for name, (question, role, parts) in wanted.items()
        if parts
    ], []


def _member_databases(opened: Opened) -> Found:
    """Fits the scorer without one database of members at a time, and evaluates it on that database's members."""
    protocol = opened.run.protocol
    databases = np.unique(protocol.table.database[protocol.part == protocols.TEST_MEMBERS]).tolist()
    if len(databases) == 1:
        return [], [f"Member database held out: all members are of one database, {databases[0]}."]
    kinds = [
        _refitted(
            opened,
            without_members_of(protocol, name),
            (f"members of {name} held out", _MEMBER_DATABASE, findings.CLAIM),
        )
        for name in databases
    ]
    return [one for found, _ in kinds for one in found], [line for _, lines in kinds for line in lines]


def without_members_of(protocol: protocols.Protocol, database: str) -> protocols.Protocol:
    """Returns the protocol with a database of members that nothing is fitted on, and no other one to evaluate on."""
    part, is_of_it = protocol.part, protocol.table.database == database
    is_left_out = (part == protocols.TRAIN_MEMBERS) & is_of_it | (part == protocols.TEST_MEMBERS) & ~is_of_it
    return dataclasses.replace(protocol, part=np.where(is_left_out, _NOT_USED, part))


def _permuted(opened: Opened) -> Found:
    dealt = dealt_out(opened.run.protocol, opened.spec.seed)
    return _refitted(opened, dealt, ("sides dealt out by lot", _PERMUTED, findings.CONTEXT))


def dealt_out(protocol: protocols.Protocol, seed: int) -> protocols.Protocol:
    """Returns the protocol with sides dealt out anew by person; training stays training, and test test."""
    part, people = protocol.part, protocol.table.people()
    dealt = np.full(len(part), _NOT_USED)
    rng = streams.stream(seed, streams.LOTS)
    for sides in (
        (protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS),
        (protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS),
    ):
        rows = np.flatnonzero(np.isin(part, sides))
        dealt[rows] = np.where(splits.permute_membership(people[rows], part[rows] == sides[0], rng), *sides)
    return dataclasses.replace(protocol, part=dealt)


def _refitted(opened: Opened, protocol: protocols.Protocol, what: tuple[str, str, str]) -> Found:
    """Measures the scorer fitted on other training samples; heads want a batch of each side."""
    name, question, role = what
    is_member = protocol.training_rows()[1]
    if (num := min(np.count_nonzero(is_member), np.count_nonzero(~is_member))) < batches.CLASS_BATCH:
        return [], [f"{name.capitalize()}: {num} training samples of a side, and {batches.CLASS_BATCH} are wanted."]
    folder = opened.folder / "controls" / name.replace(" ", "_")
    scores = controls.refitted(opened.run, opened.recipe, protocol, folder)
    parts = opened.scorer.parts(scores, protocol.main_evaluation)
    if not parts:
        return [], [f"{name.capitalize()}: {opened.scorer} can score nobody there."]
    return [findings.across(name, question, role, parts, seed=opened.spec.seed)], []


def _transplanted(opened: Opened) -> Found:
    """Scores one side as if its files had been made like the other's, with the scorer as it is."""
    protocol, seed = opened.run.protocol, opened.spec.seed
    rows, is_member = division.limited(protocol.evaluations()[protocol.main_evaluation], seed)
    table = protocol.table.take(rows)
    scorer = frozen.open_scorer(opened.run, opened.scorer)
    _, faces = images.read_faces(table, opened.run.spec.framing)
    found, missing = [], []
    for whose, side in (("externals'", ~is_member), ("members'", is_member)):
        others = table.take(~side)
        pipeline = transplant.estimate(others.take(_some(len(others), seed)))
        if not pipeline.encodings:
            missing.append(f"Pipeline transplant of the {whose} files: {pipeline.describe()}")
            continue
        changed = faces.copy()
        changed[side] = transplant.transplant(faces[side], pipeline, streams.stream(seed, streams.TRANSPLANT))
        logit = scorer(Observations(table, {images.PIXELS: changed}))
        part = _scores(opened, logit, table, is_member, protocol.main_evaluation)
        name = f"pipeline transplant, {whose} files"
        found.append(findings.across(name, _TRANSPLANT.format(whose=whose), findings.CLAIM, [part], seed=seed))
    return found, missing


def _resolution(opened: Opened) -> Found:
    """Makes the run again with all photos shrunk to what the smaller of both sides have."""
    protocol, seed = opened.run.protocol, opened.spec.seed
    sides = []
    for part in (protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS):
        table = protocol.table.take(protocol.part == part)
        sides.append(transplant.estimate(table.take(_some(len(table), seed))).sides)
    if not all(map(len, sides)):
        return [], ["Resolution match: the files do not say how large they are."]
    native = transplant.common_resolution(sides[0], sides[1])
    if not native or 0 < opened.run.spec.native_resolution <= native:
        return [], [
            "Resolution match: photos of both sides are at least as large as the model, or the run, takes them."
        ]
    folder = opened.folder / "controls" / "resolution"
    scores = controls.through(opened.run, opened.recipe, opened.run.spec.audited, folder, native)
    parts = opened.scorer.parts(scores, protocol.main_evaluation)
    question = _RESOLUTION.format(side=native)
    return [findings.across("resolution match", question, findings.CLAIM, parts, seed=seed)], []


def _null_pairs(opened: Opened) -> Found:
    """Scores pairs of databases of externals with the scorer as it is: how far shift alone takes it."""
    seed, tables = opened.spec.seed, null_databases(opened)
    if len(tables) < 2:
        return [], ["Null pairs: one database of externals to evaluate on; --nulls adds others."]
    scorer, scored, missing = frozen.open_scorer(opened.run, opened.scorer), {}, []
    for name, table in tables.items():
        table = table.take(_some(len(table), seed, division.MOST_IN_MEMORY))
        rows, faces = images.read_faces(table, opened.run.spec.framing)
        if len(rows):
            used = table.take(rows)
            scored[name] = (used, scorer(Observations(used, {images.PIXELS: faces})))
        else:
            missing.append(
                f"Null pairs with {name}: none of {len(table)} photos is a square face (prepare_faces.py makes faces)."
            )
    found = []
    for first, second in itertools.combinations(scored, 2):
        (one, of_one), (other, of_other) = scored[first], scored[second]
        table, logit = concatenate_tables([one, other]), np.concatenate([of_one, of_other])
        part = _scores(opened, logit, table, np.arange(len(table)) < len(one), f"null_{first}_{second}")
        found.append(
            findings.across(f"null pair, {first} and {second}", _NULL_PAIR, findings.CONTEXT, [part], seed=seed)
        )
    return found, missing


def null_databases(opened: Opened) -> dict[str, SampleTable]:
    """Returns the databases of externals that the scorer was not fitted on, of the run and of --nulls, by name.

    Raises:
        InputError: if the run has one of --nulls already.
    """
    protocol = opened.run.protocol
    tables = _by_database(protocol.table.take(protocol.part == protocols.TEST_EXTERNALS))
    for given in map(samples.list_samples, opened.spec.nulls):
        if both := set(given.database.tolist()) & set(protocol.table.database.tolist()):
            raise InputError(f"Expected --nulls of databases that the run does not have, received {sorted(both)}.")
        tables |= _by_database(given)
    return tables


def _scores(opened: Opened, logit: np.ndarray, table: SampleTable, is_member: np.ndarray, name: str) -> Scores:
    kept = np.flatnonzero(np.isfinite(logit))  # some baselines cannot score everybody
    scorer = opened.scorer
    return Scores(scorer.name, scorer.tap, name, opened.spec.seed, table.take(kept), is_member[kept], logit[kept])


def _by_database(table: SampleTable) -> dict[str, SampleTable]:
    names: Iterable[str] = np.unique(table.database).tolist()
    return {name: table.take(table.database == name) for name in names}


def _some(size: int, seed: int, num: int = _NUM_FILES) -> np.ndarray:
    return np.sort(streams.stream(seed, streams.FILES).permutation(size)[:num])
