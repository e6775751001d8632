"""The same photos in two models of one database, each trained on people whom the other never saw.

A photo counts once, with what the first model makes of it less what the second does. What is in the photo cancels as
far as both see it alike, as their common database does; what one sees better may be how the two groups of people look.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mint_keras import formats, shelf, streams, vectors
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.auditing import controls
from mint_keras.auditing import look as looks
from mint_keras.auditing.opened import Opened
from mint_keras.data import images, samples, splits
from mint_keras.data import protocol as protocols
from mint_keras.data.people import are_unknown, by_key
from mint_keras.records import AUDITED, UNTRAINED, InputError, Labelled, SampleTable, Scores, concatenate_tables
from mint_keras.scorers.baselines import EMBEDDING_NORM
from mint_keras.scorers.contract import NUM_FOLDS
from mint_keras.statistics import findings
from mint_keras.statistics.rule import Comparison

# The length of the embedding has a fixed sign. A head that is fitted to the labels of either model learns the two
# groups of people, with and without membership.
SCORER = "embedding norm, cross-model swap"
_OTHER_SEEDS = 1000  # copies of one architecture and one seed would be the same network


def score(opened: Opened, other: Path, table: SampleTable, is_first: np.ndarray) -> Comparison:
    """Scores members of the audited model and of another, through both.

    Args:
        opened: The audit with its run and people.
        other: The folder of the other model.
        table: The n photos that `choose` returned.
        is_first: Which of them are of the audited model's members, (n,), bool.
    """
    protocol, audited, seed = opened.run.protocol, opened.run.spec.audited, opened.spec.seed
    pairs = {AUDITED: (audited, other), **untrained_pairs(opened, other)}
    parts = {name: [_score(opened, models, table, is_first)] for name, models in pairs.items()}
    # Neither model is asked here: what pixels or looks tell of the groups is no membership, but a model that knows such
    # looks better has longer embeddings of them, whoever was used.
    groups = Labelled(np.arange(len(table)), is_first)
    apart = controls.by_pixels(opened, table, protocols.CROSS_MODEL, groups)
    if opened.look is not None and opened.look.folder is not None:
        apart[findings.LOOK] = looks.by_look(opened.look, table, groups, protocols.CROSS_MODEL, seed, opened.folder)
    held_out = protocol.table.take(protocol.part == protocols.HELD_OUT)
    neither = held_out.take(~np.isin(held_out.people(), table.people()))
    null = []
    if len(np.unique(neither.people())) >= 4:  # an interval needs two people on each side
        is_claimed = splits.split_people(neither.people(), 0.5, streams.stream(seed, streams.SWAP_NOBODY))
        null.append(_score(opened, pairs[AUDITED], neither, is_claimed))
    # Of the person and not of the image: photos and people change sides together.
    return Comparison(SCORER, protocols.CROSS_MODEL, findings.PERSON, parts, apart, null)


def known_signs(opened: Opened, table: SampleTable, is_first: np.ndarray) -> Scores:
    """Returns how long embeddings are through the audited model alone, of what `choose` returned.

    Whatever the other model does to those whom it was trained on is in the difference of the two as well.
    """
    return _score(opened, [opened.run.spec.audited], table, is_first)


def untrained_pairs(opened: Opened, other: Path) -> dict[str, tuple[Path, Path]]:
    """Returns untrained copies of the audited model and of another, by name, without those that are no control."""
    pairs = {}
    for number in range(1, opened.spec.num_untrained + 1):
        name = f"{UNTRAINED}_{number}"
        with contextlib.suppress(InputError):  # a copy that has collapsed: `controls.untrained_copies` says so
            pairs[name] = (
                controls.untrained(opened, opened.run.spec.audited, name, number),
                controls.untrained(opened, other, f"other_{name}", _OTHER_SEEDS + number),
            )
    return pairs


def choose(opened: Opened, other: Path) -> tuple[SampleTable, np.ndarray]:
    """Returns as many photos of members of either model, those that can be read, and who is the audited one's.

    Raises:
        InputError: if the other model's members are not listed, few, unknown, members of both, or of another database.
    """
    path, protocol = shelf.find(other) / formats.MEMBERS, opened.run.protocol
    if not path.is_file():
        raise InputError(f"Expected the members of --swap in {path}, received no such list.")
    theirs = samples.list_samples(str(path))
    ours = protocol.table.take(np.isin(protocol.part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS)))
    if set(ours.database.tolist()) != set(theirs.database.tolist()):
        raise InputError(
            f"Expected --swap to have been trained on the members' own database {np.unique(ours.database).tolist()}, "
            f"received {np.unique(theirs.database).tolist()}: a model is familiar with its database."
        )
    samples.check_databases([("", ours), ("", theirs)])
    named = by_key(ours.people())
    if both := sorted(named.keys() & by_key(theirs.people()).keys()):
        raise InputError(
            f"Expected --swap to have been trained on other people, received {len(both)} of the members, such as "
            f"{named[both[0]]!r}."
        )
    # As many of either, database by database: no model's standard deviation is then that of one group.
    # Whoever nobody knows could be on both sides.
    ours, theirs = (side.take(~are_unknown(side.people())) for side in (ours, theirs))
    rng, table = streams.stream(opened.spec.seed, streams.SWAP), concatenate_tables([ours, theirs])
    first, second = np.split(np.arange(len(table)), [len(ours)])
    sides = splits.balance_within(table.database, first, second, rng)
    table = table.take(np.concatenate(sides))
    rows, _ = images.read_faces(table, opened.run.spec.framing)
    table, is_first = table.take(rows), rows < len(sides[0])
    if (least := min(len(np.unique(table.people()[side])) for side in (is_first, ~is_first))) < NUM_FOLDS:
        raise InputError(f"Expected at least {NUM_FOLDS} people of either model of --swap, received {least}.")
    return table, is_first


def _score(opened: Opened, models: Sequence[Path], table: SampleTable, is_first: np.ndarray) -> Scores:
    """Returns how long embeddings are through a model, less another's if one is given, in standard deviations."""

    def lengths(folder: Path) -> np.ndarray:
        forward = runtime.forward(taps.extractor(zoo.load_audited(folder, zoo.kind_of(folder)), [taps.OUTCOME]))
        framing = zoo.framing(folder, opened.run.spec.native_resolution)
        norm = vectors.log_norms(observe(table, lambda faces: forward(iresnet.normalise(faces)), framing)[taps.OUTCOME])
        # Models differ in how long their embeddings are: what counts is who is longer than the others.
        return (norm - norm.mean()) / max(norm.std(), 1e-12)

    # Once per photo: as a member's and an external's each person would be two, and count as one more on either side.
    logit = (lengths(models[0]) - sum(map(lengths, models[1:]))).astype(np.float32)
    return Scores(EMBEDDING_NORM, taps.OUTCOME, protocols.CROSS_MODEL, opened.spec.seed, table, is_first, logit)
