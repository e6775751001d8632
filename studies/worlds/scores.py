"""The scores of one world: what the auditor's scorers make of it, and what a naive reader would look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from mint_keras.audited import taps
from mint_keras.auditing import look as looks
from mint_keras.auditing import plus
from mint_keras.data import protocol as protocols
from mint_keras.records import AUDITED, Labelled, Observations, Scores
from mint_keras.runs.spec import COMBINATION
from mint_keras.scorers import baselines, blind
from mint_keras.scorers.contract import Scorer, cross_fit
from mint_keras.scorers.direction import Direction
from mint_keras.scorers.head import Head
from mint_keras.scorers.look import Look
from mint_keras.scorers.mint_plus import MintPlus
from mint_keras.statistics import division, findings, identities
from studies.worlds import verdicts
from studies.worlds.drawing import PIXELS
from studies.worlds.networks import PeopleSeen
from studies.worlds.spec import World, WorldsSpec

NAIVE = Head("vanilla", taps.CONV_TAPS, COMBINATION)
NORM = baselines.BaselineScorer(baselines.EMBEDDING_NORM, taps.OUTCOME, ())


def score(spec: WorldsSpec, world: World, people: PeopleSeen) -> list[Scores]:
    """Scores the people of a world's reference through every network, and its raw MINT evaluation.

    Args:
        spec: All worlds.
        world: The one in question.
        people: What the networks make of the people of its model.

    Returns:
        What `of_reference` does, and scores of `NORM` through every network and of `NAIVE`.
    """
    protocol, seed = spec.protocol(world, people.people), spec.seed_of(world)
    by_network, evaluations = people.of(protocol.table), protocol.evaluations()
    training, same = protocol.training_rows(), evaluations[protocols.SAME_DATABASE]

    def scored(recipe: Scorer, network: str, shown: Labelled, evaluation: str) -> Scores:
        seen = by_network[network]
        logit = recipe.fit(seen.take(training.rows), training.is_member, seed)(seen.take(shown.rows))
        table = protocol.table.take(shown.rows)
        return Scores(recipe.name, recipe.tap, evaluation, seed, table, shown.is_member, logit, network)

    # In an audit of a run a scorer is chosen on some of the people. Here none is, but who is reported on is the same.
    networks = [network for network in by_network if network not in (PIXELS, findings.LOOK)]
    norms = [scored(NORM, network, same, protocols.SAME_DATABASE) for network in networks]
    naive = scored(NAIVE, AUDITED, evaluations[protocol.main_evaluation], protocol.main_evaluation)
    protocol, is_competent = who_is_who(by_network, protocol)
    norms = looks.regrouped(norms, protocol)
    norms = division.divide(norms[0], seed).reported(norms)
    hangs = functools.partial(verdicts.hangs_on_networks, world)
    return [*norms, *of_reference(by_network, protocol, is_competent, seed, hangs), naive]


def who_is_who(by_network: Mapping[str, Observations], protocol: protocols.Protocol) -> tuple[protocols.Protocol, bool]:
    """Returns a protocol by people as networks know them, and whether there is a look network that knows them."""
    everybody = division.of_reference(protocol)
    people = protocol.table.people()[everybody.rows]
    outcomes = {name: by_network[name].arrays[taps.OUTCOME][everybody.rows] for name in (findings.LOOK, AUDITED)}
    # The worlds plant no copies of photos: pixels are not kept to look for any.
    small = identities.Pictures(np.zeros((len(people), 1)), np.ones(len(people), bool))
    if not identities.competence(outcomes[findings.LOOK], people, small).is_competent:
        return protocol, False
    _, merged = identities.best_merged(outcomes, people, small)
    return looks.regroup(protocol, merged.groups)[0], merged.is_checked


def of_reference(
    by_network: Mapping[str, Observations],
    protocol: protocols.Protocol,
    is_competent: bool,
    seed: int,
    hangs_on_networks: Callable[[list[Scores]], bool] = lambda parts: True,
) -> list[Scores]:
    """Scores a reference as an audit does, by MINT+, pixels, the look network and the known signs.

    Args:
        by_network: What `PIXELS`, the audited model, its copies and `findings.LOOK` make of the protocol's samples.
        protocol: Claimed members and people who were kept out, see `who_is_who`.
        is_competent: Whether the look network knows them; if not, there are no scores of it.
        seed: Seeds folds and choices.
        hangs_on_networks: Whether the verdict on some scores could be changed by MINT+ through other networks; if not,
            these are not asked.
    """
    everybody = division.of_reference(protocol)
    tasks, _ = plus.tasks_of_person(protocol, seed)

    def crossed(recipe: Scorer, network: str, photos: Labelled) -> Scores:
        shown = Observations(protocol.table, by_network[network].arrays).take(photos.rows)
        model = AUDITED if network == PIXELS else network
        return cross_fit(recipe, shown, photos.is_member, protocols.SAME_DATABASE, seed, model)

    found = [crossed(MintPlus(level=task.level), AUDITED, task.photos) for task in tasks]
    found += [crossed(blind.PixelStatistics(), PIXELS, everybody), crossed(Direction(), AUDITED, tasks[-1].photos)]
    found += [crossed(Look(), findings.LOOK, everybody)] if is_competent else []
    if not hangs_on_networks(found):
        return found
    networks = [name for name in by_network if name not in (PIXELS, AUDITED)]
    networks = [name for name in networks if name != findings.LOOK or is_competent]
    return found + [crossed(MintPlus(level=task.level), name, task.photos) for name in networks for task in tasks]
