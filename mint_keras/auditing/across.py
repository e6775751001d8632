"""What is compared across databases, or measured on our own code: for the record, and deciding nothing."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from mint_keras import streams
from mint_keras.auditing import controls
from mint_keras.auditing.opened import Opened, open_scorer
from mint_keras.data import images, samples, splits, transplant
from mint_keras.data import protocol as protocols
from mint_keras.records import UNTRAINED, InputError, Observations, RefusedError, SampleTable, concatenate_tables
from mint_keras.report import states
from mint_keras.report.states import NOT_POSSIBLE, NOT_RUN, Gap
from mint_keras.statistics import division, findings
from mint_keras.statistics.findings import Finding
from mint_keras.training import batches

_NUM_FILES = 300  # whose headers say how a database's files were made
_CLAIM = "does the audited model tell members from externals of another database, as in the paper"
_HELD_OUT_CLAIM = "does the audited model tell members of a database that no head was trained on from externals"
_UNTRAINED = "does a network that was never trained tell the databases apart"
_FAMILIAR = "are people of the members' database whom the model never saw told from externals"
_BLIND = "do pixels alone tell the databases apart"
_MEMBER_DATABASE = "are members of a database that the scorer was not fitted on told from externals"
_PERMUTED = "does our own code see a difference between sides that were dealt out by lot"
_TRANSPLANT = "is it still so if the {0} files are compressed and sized like the others'"
_RESOLUTION = "is it still so if all photos are first shrunk to {0} pixels, which those of both sides have"
_NULL_PAIR = "does the scorer tell two databases apart, nobody of which is a member"
Found = Iterator[Finding | Gap]


def measure(opened: Opened) -> tuple[list[Finding], list[Gap]]:
    """Returns the paper's own claim and what else tells databases apart, and what could not be measured."""
    measures = {states.LOTS: by_lot}
    if opened.run.protocol.main_evaluation != protocols.SAME_DATABASE:
        measures = {
            states.EXTERNALS: as_in_the_paper,
            states.HELD_OUT: member_databases,
            **measures,
            states.FILES: transplanted,
            states.SHRUNK: same_resolution,
            states.NULL_PAIRS: null_pairs,
        }
    found: list[Finding | Gap] = []
    for name, measured in measures.items():
        try:
            found += list(measured(opened))
        except (InputError, RefusedError) as error:  # what decides nothing must not take the verdict with it
            found.append(Gap(name, NOT_POSSIBLE, str(error)))
    return [one for one in found if isinstance(one, Finding)], [one for one in found if isinstance(one, Gap)]


def as_in_the_paper(opened: Opened) -> Found:
    """Compares members with externals, as the paper does, and the same through what cannot know the members."""
    run, scores, scorer, seed = opened.run, opened.scores, opened.scorer, opened.spec.seed
    main, protocol = run.protocol.main_evaluation, run.protocol
    claim = _HELD_OUT_CLAIM if main == protocols.UNSEEN_MEMBERS else _CLAIM
    blind = controls.by_pixels(opened, protocol.table, main, protocol.evaluations()[main])
    for name, question, role, parts in (
        ("members and externals", claim, findings.CLAIM, scorer.parts(scores, main)),
        (
            "untrained copy, members and externals", _UNTRAINED, findings.CONTEXT,
            scorer.parts(scores, main, UNTRAINED),
        ),
        ("familiar", _FAMILIAR, findings.CONTEXT, scorer.parts(scores, protocols.FAMILIAR)),
        *((f"{name}, members and externals", _BLIND, findings.CONTEXT, [part]) for name, part in blind.items()),
    ):  # fmt: skip
        if parts:
            yield findings.across(name, question, role, parts, seed=seed)


def member_databases(opened: Opened) -> Found:
    """Fits the scorer without one database of members at a time, and evaluates it on that database's members."""
    protocol = opened.run.protocol
    databases = np.unique(protocol.table.database[protocol.part == protocols.TEST_MEMBERS]).tolist()
    if len(databases) == 1:
        yield Gap(states.HELD_OUT, NOT_POSSIBLE, f"all members are of one database, {databases[0]}.")
        return
    for name in databases:
        left = without_members_of(protocol, name)
        what = f"members of {name} held out", _MEMBER_DATABASE, findings.CLAIM
        yield _refitted(opened, left, what, states.HELD_OUT)


def without_members_of(protocol: protocols.Protocol, database: str) -> protocols.Protocol:
    """Returns the protocol with a database of members that nothing is fitted on, and no other one to evaluate on."""
    part, is_of_it = protocol.part, protocol.table.database == database
    is_left_out = (part == protocols.TRAIN_MEMBERS) & is_of_it
    is_left_out |= np.isin(part, (protocols.TEST_MEMBERS, protocols.HELD_OUT)) & ~is_of_it
    return dataclasses.replace(protocol, part=np.where(is_left_out, protocols.NOT_USED, part))


def by_lot(opened: Opened) -> Found:
    """Fits and evaluates the scorer on sides that were dealt out by lot: whatever it finds, our own code leaks."""
    dealt = dealt_out(opened.run.protocol, opened.spec.seed)
    yield _refitted(opened, dealt, (states.LOTS, _PERMUTED, findings.CONTEXT), states.LOTS)


def dealt_out(protocol: protocols.Protocol, seed: int) -> protocols.Protocol:
    """Returns the protocol with sides dealt out anew by person; training stays training, and test test."""
    # By person, as membership is: photos of one person are alike, and a lot for each would not be independent.
    part, people = protocol.part, protocol.table.people()
    dealt = np.full(len(part), protocols.NOT_USED)
    rng = streams.stream(seed, streams.LOTS)
    for sides in (
        (protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS),
        (protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS),
    ):
        rows = np.flatnonzero(np.isin(part, sides))
        dealt[rows] = np.where(splits.permute_membership(people[rows], part[rows] == sides[0], rng), *sides)
    return dataclasses.replace(protocol, part=dealt)


def _refitted(opened: Opened, protocol: protocols.Protocol, what: tuple[str, str, str], item: str) -> Finding | Gap:
    """Measures the scorer fitted on other training samples, under a name, with a question and a role."""
    # A head is trained on batches of as many of each side.
    num, why = protocol.training_rows().smaller_side, f"{opened.scorer} can score nobody there."
    if num >= batches.CLASS_BATCH:
        scores = controls.refitted(opened, protocol, what[0].replace(" ", "_"))
        if parts := opened.scorer.parts(scores, protocol.main_evaluation):
            return findings.across(*what, parts, seed=opened.spec.seed)
    else:
        why = f"{num} training samples of a side, and {batches.CLASS_BATCH} are wanted."
    return Gap(item, NOT_POSSIBLE, why if what[0] == item else f"{what[0]}: {why}")


def transplanted(opened: Opened) -> Found:
    """Scores one side as if its files had been made like the other's, with the scorer as it is."""
    protocol, seed, main = opened.run.protocol, opened.spec.seed, opened.run.protocol.main_evaluation
    rows, is_member = division.limited(protocol.evaluations()[main], seed)
    table = protocol.table.take(rows)
    scorer = open_scorer(opened.run, opened.scorer)
    _, faces = images.read_faces(table, opened.run.spec.framing)
    # Each way once: it adds what the other pipeline does, and does not take away what a side's own did before.
    for whose, side in (("externals'", ~is_member), ("members'", is_member)):
        pipeline = transplant.estimate(_some(table.take(~side), seed))
        if not pipeline.encodings:
            yield Gap(states.FILES, NOT_POSSIBLE, f"of the {whose} files: {pipeline.describe()}")
            continue
        changed = faces.copy()
        changed[side] = transplant.transplant(faces[side], pipeline, streams.stream(seed, streams.TRANSPLANT))
        logit = scorer(Observations(table, {images.PIXELS: changed}))
        part = opened.scorer.scored(table, logit, is_member, main, seed)
        name = f"pipeline transplant, {whose} files"
        yield findings.across(name, _TRANSPLANT.format(whose), findings.CLAIM, [part], seed=seed)


def same_resolution(opened: Opened) -> Found:
    """Makes the run again with all photos shrunk to what the smaller of both sides have."""
    protocol, spec, seed = opened.run.protocol, opened.run.spec, opened.spec.seed
    members, externals = (
        transplant.estimate(_some(protocol.table.take(protocol.part == part), seed)).sides
        for part in (protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS)
    )
    if not len(members) or not len(externals):
        yield Gap(states.SHRUNK, NOT_POSSIBLE, "the files do not say how large they are.")
        return
    # One side for both: to shrink the photos of one side only would be a difference of its own.
    native = transplant.common_resolution(members, externals)
    if not native or 0 < spec.native_resolution <= native:
        why = "photos of both sides are at least as large as the model, or the run, takes them."
        yield Gap(states.SHRUNK, NOT_POSSIBLE, why)
        return
    scores = controls.through(opened, spec.audited, "resolution", native)
    parts = opened.scorer.parts(scores, protocol.main_evaluation)
    yield findings.across("resolution match", _RESOLUTION.format(native), findings.CLAIM, parts, seed=seed)


def null_pairs(opened: Opened) -> Found:
    """Scores pairs of databases of externals with the scorer as it is: how far shift alone takes it."""
    seed, tables = opened.spec.seed, null_databases(opened)
    if len(tables) < 2:
        yield Gap(states.NULL_PAIRS, NOT_RUN, "one database of externals to evaluate on; --nulls adds others.")
        return
    scorer, scored = open_scorer(opened.run, opened.scorer), {}
    for name, table in tables.items():
        table = _some(table, seed, division.MOST_IN_MEMORY)
        rows, faces = images.read_faces(table, opened.run.spec.framing)
        if len(rows):
            used = table.take(rows)
            scored[name] = (used, scorer(Observations(used, {images.PIXELS: faces})))
        else:
            why = f"with {name}: none of {len(table)} photos is a square face (prepare_faces.py makes faces)."
            yield Gap(states.NULL_PAIRS, NOT_POSSIBLE, why)
    for first, second in itertools.combinations(scored, 2):
        (one, of_one), (other, of_other) = scored[first], scored[second]
        table, logit = concatenate_tables([one, other]), np.concatenate([of_one, of_other])
        part = opened.scorer.scored(table, logit, np.arange(len(table)) < len(one), f"null_{first}_{second}", seed)
        yield findings.across(f"null pair, {first} and {second}", _NULL_PAIR, findings.CONTEXT, [part], seed=seed)


def null_databases(opened: Opened) -> dict[str, SampleTable]:
    """Returns the databases of externals that the scorer was not fitted on, of the run and of --nulls, by name.

    Raises:
        InputError: if the run has one of --nulls already.
    """
    protocol = opened.run.protocol
    tables = [protocol.table.take(protocol.part == protocols.TEST_EXTERNALS)]
    for given in map(samples.list_samples, opened.spec.nulls):
        if both := set(given.database.tolist()) & set(protocol.table.database.tolist()):
            raise InputError(f"Expected --nulls of databases that the run does not have, received {sorted(both)}.")
        tables.append(given)
    return {name: table.take(table.database == name) for table in tables for name in np.unique(table.database).tolist()}


def _some(table: SampleTable, seed: int, num: int = _NUM_FILES) -> SampleTable:
    return table.take(np.sort(streams.stream(seed, streams.FILES).permutation(len(table))[:num]))
