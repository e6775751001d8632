"""The scores of one world: what the auditor's scorers make of it, and what a naive reader would look at."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mint_keras import paper
from mint_keras.audited import taps
from mint_keras.data import protocol as protocols
from mint_keras.data import worlds
from mint_keras.heads import vanilla
from mint_keras.records import AUDITED, Scores
from mint_keras.scorers import baselines, blind
from mint_keras.scorers.baselines import PERSON
from mint_keras.stages import mint_options
from mint_keras.stages.audit import dividing, pixels, plus
from mint_keras.stages.validation.models import MAXIMA, PIXELS, Seen
from mint_keras.stages.validation.options import TRAIN_SHARE, ValidateAuditor, World
from mint_keras.training import batches, checkpoints
from mint_keras.training import fit_heads as heads

NAIVE = dividing.Scorer("vanilla", mint_options.COMBINATION)
NORM = dividing.Scorer(baselines.EMBEDDING_NORM, taps.OUTCOME)


def score(config: ValidateAuditor, world: World, seen: Seen) -> list[Scores]:
    """Scores the reported people of a world's reference through every network, and its raw MINT evaluation.

    Args:
        config: of the validation.
        world: in question.
        seen: what the networks make of its people.

    Returns:
        Scores through every network by its name (`Scores.model`); and those of pixels, and of `NAIVE`.
    """
    protocol, seed = draw(config, world, seen.people), seed_of(config, world)
    rows, people = seen.rows(protocol.table), protocol.table.people()
    # Somebody chooses the scorer in an audit of a run. Here nobody does, but the people are divided in the same way.
    division = dividing.divide(_norm(protocol, seen.features[AUDITED], rows, seed), seed)
    tasks, _ = plus.tasks_of_person(protocol, division, seed)
    everybody = np.arange(len(rows))
    found = []
    for network, features in seen.features.items():
        if network == PIXELS:
            found.append(_pixels(protocol, features, rows, division, seed))
            continue
        found.append(_through(network, division.reported([_norm(protocol, features, rows, seed)])[0]))
        of_world = {name: values[rows] for name, values in features.items()} | {PERSON: people}
        for task in tasks:
            found.append(_through(network, plus.score_features(task, protocol.table, everybody, of_world, seed)))
    return [*found, _naive(protocol, seen.features[AUDITED], rows, seed)]


def draw(config: ValidateAuditor, world: World, people: worlds.People) -> protocols.Protocol:
    """Returns who plays which part in a world."""
    sizes = worlds.Sizes(config.claimed, config.held_out, config.externals)
    sources = worlds.draw(world.kind, people, sizes, np.random.default_rng([config.seed, world.model, world.number]))
    num_train = config.claimed * config.photos // TRAIN_SHARE
    num_test = config.claimed * config.photos - num_train
    return protocols.make_protocol(sources, num_train, num_test, seed_of(config, world))


def seed_of(config: ValidateAuditor, world: World) -> int:
    """Returns the seed of a world's split, fits and intervals."""
    return 10_000 * config.seed + 100 * world.model + world.number


def _reader(features: Mapping[str, np.ndarray], rows: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns a function from rows of a protocol's table to their features."""
    return lambda wanted: {name: values[rows[wanted]] for name, values in features.items()}


def _norm(protocol: protocols.Protocol, features: Mapping[str, np.ndarray], rows: np.ndarray, seed: int) -> Scores:
    read = _reader(features, rows)
    known, is_member = protocol.training_rows()
    fitted = baselines.fit_embedding_norm(read(known), is_member)
    evaluated, truth = protocol.evaluations()[protocols.SAME_DATABASE]
    logit = fitted(read(evaluated))
    table = protocol.table.take(evaluated)
    return Scores(NORM.name, NORM.tap, protocols.SAME_DATABASE, seed, table, truth, logit)


def _pixels(
    protocol: protocols.Protocol,
    features: Mapping[str, np.ndarray],
    rows: np.ndarray,
    division: dividing.Division,
    seed: int,
) -> Scores:
    read = _reader(features, rows)
    known, is_member = dividing.calibration(protocol, division)
    scored, truth = dividing.reported(protocol, division)
    logit = blind.fit_statistics(read(known), is_member)(read(scored))
    table = protocol.table.take(scored)
    return Scores(pixels.STATISTICS, pixels.TAP, protocols.SAME_DATABASE, seed, table, truth, logit)


def _naive(protocol: protocols.Protocol, features: Mapping[str, np.ndarray], rows: np.ndarray, seed: int) -> Scores:
    """Trains the paper's head on the combination and scores the paper's evaluation."""
    maxima = {tap: features[name] for tap, name in MAXIMA.items()}
    known, is_member = protocol.training_rows()
    checkpoints.seed_everything(seed)
    head = vanilla.build({tap: values.shape[1:] for tap, values in maxima.items()})
    with tempfile.TemporaryDirectory() as out:
        training = heads.HeadTraining(paper.VANILLA_EPOCHS, seed)
        heads.fit_head(head, batches.LabelledAad(maxima, rows[known], is_member), training, Path(out))
    main = protocol.main_evaluation
    evaluated, truth = protocol.evaluations()[main]
    data = batches.LabelledAad(maxima, rows[evaluated], truth)
    logit = heads.logit_model(head).predict(batches.evaluation_dataset(data), verbose=0)[:, 0]
    return Scores(NAIVE.name, NAIVE.tap, main, seed, protocol.table.take(evaluated), truth, logit)


def _through(network: str, part: Scores) -> Scores:
    return dataclasses.replace(part, model=network)
