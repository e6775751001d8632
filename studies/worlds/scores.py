"""The scores of one world: what the auditor's scorers make of it, and what a naive reader would look at."""

from __future__ import annotations

from mint_keras.audited import taps
from mint_keras.auditing import plus
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, Labelled, Scores
from mint_keras.runs.spec import COMBINATION
from mint_keras.scorers import baselines, blind
from mint_keras.scorers.contract import Scorer
from mint_keras.scorers.head import Head
from mint_keras.scorers.mint_plus import MintPlus
from mint_keras.statistics import division
from studies.worlds.networks import PIXELS, PeopleSeen
from studies.worlds.spec import World, WorldsSpec

NAIVE = Head("vanilla", taps.CONV_TAPS, COMBINATION)
NORM = baselines.BaselineScorer(baselines.EMBEDDING_NORM, taps.OUTCOME, ())


def score(spec: WorldsSpec, world: World, people: PeopleSeen) -> list[Scores]:
    """Scores the reported people of a world's reference through every network, and its raw MINT evaluation.

    Args:
        spec: All worlds.
        world: The one in question.
        people: What the networks make of the people of its model.

    Returns:
        Scores of the auditor's scorers through every network (`Scores.model`), of pixels, and of `NAIVE`.
    """
    protocol, seed = spec.protocol(world, people.people), spec.seed_of(world)
    by_network, evaluations = people.of(protocol.table), protocol.evaluations()
    training, same = protocol.training_rows(), evaluations[protocols.SAME_DATABASE]

    def scored(
        recipe: Scorer, network: str, fitted_on: Labelled, shown: Labelled, evaluation: str = protocols.SAME_DATABASE
    ) -> Scores:
        seen = by_network[network]
        logit = recipe.fit(seen.take(fitted_on.rows), fitted_on.is_member, seed)(seen.take(shown.rows))
        model = AUDITED if network == PIXELS else network
        table = protocol.table.take(shown.rows)
        return Scores(recipe.name, recipe.tap, evaluation, seed, table, shown.is_member, logit, model)

    # In an audit of a run a scorer is chosen on some of the people. Here none is, but who is reported on is the same.
    divided = division.divide(scored(NORM, AUDITED, training, same), seed)
    tasks, _ = plus.tasks_of_person(protocol, divided, seed)
    found = []
    for network in by_network:
        if network == PIXELS:
            sides = division.calibration(protocol, divided), division.reported(protocol, divided)
            found.append(scored(blind.PixelStatistics(), network, *sides))
            continue
        found += divided.reported([scored(NORM, network, training, same)])
        found += [scored(MintPlus(level=task.level), network, task.fitted_on, task.scored) for task in tasks]
    main = protocol.main_evaluation
    return [*found, scored(NAIVE, AUDITED, training, evaluations[main], main)]
