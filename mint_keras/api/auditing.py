"""A verdict in memory: a fitted scorer, people of the members' database who were kept out, and controls to beat."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from mint_keras.aad import observe as observing
from mint_keras.api.audited_model import AuditedModel
from mint_keras.api.observing import UNNAMED, embed, observe
from mint_keras.auditing import look as looks
from mint_keras.data import images
from mint_keras.data import protocol as protocols
from mint_keras.data.people import by_key
from mint_keras.records import AUDITED, REFERENCE, UNTRAINED, InputError, Observations, Scores
from mint_keras.scorers import blind, log_odds, mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.scorers.contract import NUM_FOLDS, Calibration, Scorer, as_truth, cross_fit
from mint_keras.scorers.direction import Direction
from mint_keras.scorers.head import FittedHead
from mint_keras.scorers.log_odds import FittedLogOdds
from mint_keras.scorers.look import Look as LookScorer
from mint_keras.scorers.mint_plus import FittedMintPlus
from mint_keras.statistics import findings, identities, rule, verdict
from mint_keras.statistics.selection import Candidate
from mint_keras.training import batches

# From samples with their pixels or places to what something gave for them.
Look = Callable[[Observations], Observations]
# How to look at samples, and by name what is fitted on what is seen there, for one look after the other.
Attempts = Iterator[tuple[Look, Mapping[str, Sequence[Scorer]]]]
FittedScorer = FittedMintPlus | FittedHead | FittedLogOdds
# From a fitted scorer to what it must beat. A control knows nothing of the members: what it finds is not membership.
Control = Callable[[FittedScorer], Attempts]


def untrained(model: AuditedModel, num: int = 3) -> Control:
    """Returns the control that a verdict cannot do without: the same scorer through copies that were never trained.

    The scorer must beat each of the `num` copies of the audited model.

    Example:
        >>> from mint_keras.api.audited_model import load_model
        >>> controls = [untrained(load_model("lab"), num=3), pixels()]
    """

    def control(scorer: FittedScorer) -> Attempts:
        calibration = scorer.calibration
        faces = calibration.samples.arrays.get(images.PIXELS)
        if faces is None:
            _, faces = images.read_faces(calibration.samples.table, model.framing)
        faces = np.stack([model.framing.apply(face) for face in faces])
        for number in range(1, num + 1):
            copy = model.untrained(faces, calibration.seed + number)
            yield functools.partial(observe, copy), {f"{UNTRAINED}_{number}": [scorer.recipe]}

    return control


def foreign(model: AuditedModel) -> Control:
    """Returns the control of the same scorer through a model of the same task that was not trained on the members.

    Example:
        >>> from mint_keras.api.audited_model import load_model
        >>> controls = [foreign(load_model("lab2"))]
    """
    return lambda scorer: iter([(functools.partial(observe, model), {f"foreign_{model.name}": [scorer.recipe]})])


@dataclasses.dataclass(frozen=True)
class LookControl:
    """See `look`."""

    model: AuditedModel

    def __call__(self, scorer: FittedScorer) -> Attempts:
        """Gives the scorer of looks, and the scorer itself if it can look at this network."""
        recipes: list[Scorer] = [LookScorer()]
        if set(scorer.recipe.needs.taps) <= set(self.model.taps):
            recipes.append(scorer.recipe)
        yield functools.partial(observe, self.model), {findings.LOOK: recipes}


def look(model: AuditedModel) -> LookControl:
    """Returns the control that asks how people look to a face network that is not the audited one.

    A verdict cannot do without it, nor without being shown by two photos of at least 20 people that this network knows
    such faces. The checkpoint before fine-tuning is best; "dlib", on the shelf, knows photographed faces. If it tells
    the sides apart, they look different. Names that are one person to it count as one.

    Example:
        >>> from mint_keras.api.audited_model import load_model
        >>> controls = [look(load_model("lab3"))]
    """
    return LookControl(model)


def pixels() -> Control:
    """Returns the control that sees no model: statistics of the pixels, and a small network on them.

    Like `look`, it is fitted on the scorer's people and, fold by fold, on those in question.

    Example:
        >>> controls = [pixels()]
    """

    def look(samples: Observations) -> Observations:
        return observing.observe(samples, blind.features, batch_size=blind.BATCH_SIZE, is_filled=False)

    def control(scorer: FittedScorer) -> Attempts:
        recipes: list[Scorer] = [blind.PixelStatistics()]
        truth = scorer.calibration.is_member
        # A network that has not a batch of each side to learn from would see nothing, and be too easily passed.
        if min(truth.sum(), (~truth).sum()) >= batches.CLASS_BATCH:
            recipes.append(blind.PixelNetwork())
        yield look, {recipe.name: [recipe] for recipe in recipes}

    return control


def audit(
    scorer: FittedScorer,
    seen: Observations,
    is_member: np.ndarray,
    controls: Sequence[Control] = (),
    seed: int = 1,
) -> verdict.Verdict:
    """Decides whether a scorer tells claimed members from other people of their database whom the model never saw.

    The rule is that of `mint audit` for this one reference. Without `untrained`, `pixels` and `look` as controls, with
    fewer than 50 people on a side, or with sides of different databases the verdict is never "evidence"; of several
    databases, as many photos of each are compared on both sides.

    Args:
        scorer: Fitted on other people, by `MintPlus().fit(...)`, `LogOdds().fit(...)` or `Head(...).fit(...)`.
        seen: What the audited model gave for the people in question, see `observe`; and its references, each of which
            is a control.
        is_member: Which samples are claimed to be members, (n,), bool.
        controls: What the scorer must beat, made by `untrained`, `foreign`, `pixels` and `look`.
        seed: Seeds the intervals.

    Raises:
        InputError: if a side is empty, a person is on both or was fitted on, or a control cannot look at them.

    Example:
        >>> from mint_keras.api.observing import samples
        >>> seen = samples("synthetic:1/web/0-159/2").adding(outcome=np.random.default_rng(1).normal(size=(320, 8)))
        >>> is_member, known = np.arange(320) % 4 < 2, np.arange(320) < 120
        >>> scorer = mint_plus.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
        >>> audit(scorer, seen[~known], is_member[~known]).outcome
        'no evidence'
    """
    recipe, is_member = scorer.recipe, as_truth(is_member)
    _check_sides(scorer.calibration, seen, is_member)
    name = f"{recipe.name.replace('_', ' ')} on {recipe.tap}"
    sides = [set(np.unique(seen.table.database[side]).tolist()) for side in (is_member, ~is_member)]
    evaluation = protocols.SAME_DATABASE if sides[0] == sides[1] else protocols.UNSEEN_DATABASE
    seen, is_member, why = _who_is_who(controls, scorer.calibration, seen, is_member)
    lacking = {findings.LOOK: why} if why else {}

    def scores(of: Scorer, model: str, logit: np.ndarray) -> Scores:
        return Candidate(of.name, of.tap).scored(seen.table, logit, is_member, evaluation, seed, model)

    parts = {AUDITED: scores(recipe, AUDITED, scorer(seen))}
    if evaluation != protocols.SAME_DATABASE:
        return _across_databases(sides, [parts[AUDITED]], seed)
    without_model: dict[str, Scores] = {}
    wanted = [one for one in controls if not (isinstance(one, LookControl) and lacking)]
    beside = _through_references(scorer, seen)
    for label, other, logit, num_folds in itertools.chain(_refitted(wanted, scorer, seen, is_member), beside):
        found = without_model if _is_apart(other) else parts
        if label in found:  # the weaker of two would stand in the other's place
            raise InputError(f"Expected controls of different names, received {label} twice: rename a model's folder.")
        found[label] = dataclasses.replace(scores(other, label, logit), num_folds=num_folds)
    sign = cross_fit(Direction(), seen, is_member, evaluation, seed)
    is_of_persons = recipe.tap in (mint_plus.WITH_OTHERS, mint_plus.OF_PERSON) or recipe.name == log_odds.NAME
    several = {label: [part] for label, part in parts.items()}
    comparison = rule.comparison(name, several, findings.PERSON, {evaluation: without_model}, seed, is_of_persons)
    return rule.by_rule([comparison], {}, seed, {evaluation: sign}, lacking)[name]


def _across_databases(sides: Sequence[set[str]], parts: Sequence[Scores], seed: int) -> verdict.Verdict:
    # Databases can be told apart without any membership: such a comparison is written down and decides nothing.
    question = f"are members of {sorted(sides[0])} told from people of {sorted(sides[1])}"
    return verdict.decide([findings.across("members and externals", question, findings.CLAIM, parts, seed=seed)])


def _check_sides(calibration: Calibration, seen: Observations, is_member: np.ndarray) -> None:
    if is_member.shape != (len(seen),) or is_member.all() or not is_member.any():
        raise InputError(f"Expected members and others among {len(seen)} samples, received {is_member.sum()} members.")
    people, others, known = map(
        by_key, (seen.people()[is_member], seen.people()[~is_member], calibration.samples.people())
    )
    if both := (people.keys() & others.keys()) | ((people.keys() | others.keys()) & known.keys()):
        raise InputError(f"Expected other people than those fitted on, each on one side, received {len(both)} of them.")
    if (seen.table.database == UNNAMED).any():
        raise InputError(
            "Expected to be told the database of faces in memory, received none: samples(faces, people=..., "
            "database=NAME) says that both sides are of one."
        )


def _who_is_who(
    controls: Sequence[Control], calibration: Calibration, seen: Observations, is_member: np.ndarray
) -> tuple[Observations, np.ndarray, str]:
    """Returns samples, and their membership, by people as the look network knows them, and why none does, if so.

    Whoever was fitted on under another name, or is on both sides, is left out.
    """
    given = [control for control in controls if isinstance(control, LookControl)]
    if not given:
        return seen, is_member, "None was given (mint_keras.look)."
    if len(given) > 1:  # a weaker one would stand in the place of the one that was tried
        raise InputError(f"Expected one look network, received {len(given)}. Take the one that knows most.")
    control = given[0]
    tables = [calibration.samples.table, seen.table]
    outcome = np.concatenate([embed(control.model, one)[OUTCOME] for one in (calibration.samples, seen)])
    people = np.concatenate([table.people() for table in tables])
    if len(outcome) < len(people):
        raise InputError(f"Expected {len(people)} photos that the look network can be shown, received {len(outcome)}.")
    parts = [looks.pictures(one) for one in (calibration.samples, seen)]
    small = identities.Pictures(*map(np.concatenate, zip(*parts, strict=True)))
    competence = identities.competence(outcome, people, small)
    if not competence.is_competent:
        return seen, is_member, competence.describe()
    outcomes = {control.model.name: outcome}
    if all(OUTCOME in one.arrays for one in (calibration.samples, seen)):
        outcomes["the audited network"] = np.concatenate([one[OUTCOME] for one in (calibration.samples, seen)])
    _, merged = identities.best_merged(outcomes, people, small)
    if not merged.is_checked:
        return seen, is_member, merged.describe()
    known, person = np.split(merged.people, [len(tables[0])])
    both = np.intersect1d(person[is_member], person[~is_member])
    kept = ~np.isin(person, np.concatenate([known, both]))
    alias = dict(zip(seen.people().tolist(), person.tolist(), strict=True))
    renamed = Observations(looks.renamed(seen.table, alias), seen.arrays)
    kept &= renamed.people() == person  # who could not be renamed would be two people
    return renamed.take(kept), is_member[kept], ""


def _is_apart(recipe: Scorer) -> bool:
    """Returns whether a scorer knows nothing of the audited model."""
    return recipe.tap == blind.TAP or recipe.name == LookScorer.name


def _are_enough(recipe: Scorer, people: np.ndarray, is_member: np.ndarray) -> bool:
    """Returns whether a scorer can be fitted on four fifths of either side; fewer people give no evidence anyway."""
    sides = [people[is_member], people[~is_member]]
    num_photos = min(map(len, sides)) * (NUM_FOLDS - 1) // NUM_FOLDS
    if recipe.name == blind.PixelNetwork.name and num_photos < batches.CLASS_BATCH:
        return False
    return min(len(np.unique(side)) for side in sides) >= verdict.MIN_PEOPLE


def _refitted(
    controls: Sequence[Control], scorer: FittedScorer, seen: Observations, is_member: np.ndarray
) -> Iterator[tuple[str, Scorer, np.ndarray, int]]:
    """Gives the name and the scorer of each attempt of the controls, its logits of samples, (n,), and its folds."""
    fitted_on = scorer.calibration
    for look, recipes in itertools.chain.from_iterable(control(scorer) for control in controls):
        known, shown = look(fitted_on.samples), look(seen)
        if len(known) < len(fitted_on.samples) or len(shown) < len(seen):  # rows are found by their place
            raise InputError(f"Expected every sample to be there for {list(recipes)}, received fewer.")
        same = [name for name in known.arrays if name in fitted_on.samples.arrays and name != images.PIXELS]
        other = [name for name in same if known[name].shape[1:] != fitted_on.samples[name].shape[1:]]
        if other and any(name.startswith(UNTRAINED) for name in recipes):
            raise InputError(f"Expected untrained copies of the audited model, received some with another {other[0]}.")
        names = [name for name in fitted_on.samples.arrays if REFERENCE in name and name in seen.arrays]
        known, shown = (
            to.adding(**{x: of[x] for x in names}) for to, of in ((known, fitted_on.samples), (shown, seen))
        )
        for name, recipe in ((name, one) for name, given in recipes.items() for one in given):
            yield name, recipe, recipe.fit(known, fitted_on.is_member, fitted_on.seed)(shown), 0
            if _is_apart(recipe) and _are_enough(recipe, seen.people(), is_member):
                # The people whom the scorer was fitted on may be divided by lot, and those in question by age.
                logit = cross_fit(recipe, shown, is_member, protocols.SAME_DATABASE, fitted_on.seed).logit
                yield f"{name}, fitted on them", recipe, logit, NUM_FOLDS


def _through_references(scorer: FittedScorer, seen: Observations) -> Iterator[tuple[str, Scorer, np.ndarray, int]]:
    """Gives what `_refitted` does of the scorer through each reference alone; nothing of heads, which look at taps."""
    if isinstance(scorer, FittedHead):
        return
    recipe, fitted_on = scorer.recipe, scorer.calibration
    if isinstance(recipe, mint_plus.MintPlus):  # of an embedding alone it may lack what it was told to look at
        recipe = dataclasses.replace(recipe, ingredients=None)
    for name in log_odds.references(seen):
        fitted = recipe.fit(log_odds.through(fitted_on.samples, name), fitted_on.is_member, fitted_on.seed)
        yield name, recipe, fitted(log_odds.through(seen, name)), 0
