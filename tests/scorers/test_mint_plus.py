"""MINT+ on features whose truth is known, and on a small model from pixels to an interval."""

import keras
import numpy as np
import pytest

from mint_keras.aad import signals, views
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet
from mint_keras.data import images, synthetic
from mint_keras.records import REFERENCE, InputError, Observations, Scores, concatenate_tables
from mint_keras.scorers import ingredients, mint_plus
from mint_keras.scorers.baselines import OUTCOME
from mint_keras.scorers.mint_plus import IMAGE, OF_PERSON, PHOTO, WITH_OTHERS, MintPlus
from mint_keras.statistics import intervals, metrics
from tests.scorers.seen import observed

NUM_PHOTOS, SIZE = 4, 24
REFERENCE = f"{REFERENCE}_model"
World = tuple[Observations, np.ndarray]


def draw_world(seed: int, num_people: int = 80, signal: str = "", num_photos: int = NUM_PHOTOS) -> World:
    """People at random directions; the first half are members, and a signal says how they differ."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(num_people), num_photos)
    is_member = person < num_people // 2
    spread = np.repeat(rng.uniform(0.5, 1.5, num_people), num_photos)
    centres = rng.normal(size=(num_people, SIZE))
    seen = centres.copy()
    if signal == "pushed":  # members stay out of a direction in which all others are alike
        seen[: num_people // 2, :4] *= 0.3
        seen[num_people // 2 :, :4] = 0.6 * seen[num_people // 2 :, :4] + 1.0
    noise = rng.normal(size=(len(person), SIZE))
    compact = np.where(is_member & (signal == "compact"), 0.6, 1.0)
    outcome = seen[person] + (spread * compact)[:, None] * noise
    outcome *= np.where(is_member & (signal == "norm"), 1.3, 1.0)[:, None]
    shape = (len(person), len(views.VIEWS))
    arrays = {
        OUTCOME: outcome.astype(np.float32),
        REFERENCE: (centres[person] @ rng.normal(size=(SIZE, 12)) / 5 + spread[:, None] * noise[:, :12]),
        views.COSINES: 1 - rng.uniform(0.01, 0.1, shape) * np.where(is_member & (signal == "views"), 0.7, 1)[:, None],
        views.NORM_RATIOS: rng.normal(size=shape),
        signals.BN_DISTANCE: rng.gamma(2.0, size=(len(person), 3)),
        "conv1_max": rng.normal(size=(len(person), 5)),
    }
    return observed(np.array([f"{seed}-{number:04d}" for number in person]), arrays), is_member


def without(seen: Observations, *names: str) -> Observations:
    return Observations(seen.table, {name: values for name, values in seen.arrays.items() if name not in names})


def estimate(world: World, logit: np.ndarray) -> intervals.Estimate:
    seen, is_member = world
    return intervals.estimate([Scores("mint_plus", "", "", 1, seen.table, is_member, logit)])["auc"]


@pytest.mark.parametrize(
    ("signal", "level", "least"),
    [("norm", PHOTO, 0.8), ("views", PHOTO, 0.75), ("pushed", PHOTO, 0.8), ("compact", WITH_OTHERS, 0.75)],
)
def test_a_planted_signal_is_found_in_other_people(signal: str, level: str, least: float) -> None:
    score = MintPlus(level=level).fit(*draw_world(1, signal=signal))
    world = draw_world(2, signal=signal)
    logit = score(world[0])
    assert (logit.shape, logit.dtype) == (world[1].shape, np.float32)
    assert metrics.auc(world[1], logit) > least
    assert np.mean((logit > 0) == world[1]) > 0.6


def test_what_all_photos_of_a_person_share_says_of_the_person_and_not_of_an_image() -> None:
    """A photo is judged with its person's others: of a person by what they share, of an image by how it differs."""
    train, is_member = draw_world(30)
    shown, _ = draw_world(31)
    stretch = np.random.default_rng(1).uniform(1, 4, len(np.unique(shown.people())))
    longer = shown.adding(**{OUTCOME: shown[OUTCOME] * np.repeat(stretch, NUM_PHOTOS)[:, None]})
    image = MintPlus(IMAGE, WITH_OTHERS, ("norm",)).fit(train, np.arange(len(is_member)) % 2 == 0)
    np.testing.assert_allclose(image(longer), image(shown), atol=1e-4)
    person = MintPlus(level=WITH_OTHERS, ingredients=("norm",)).fit(train, is_member)
    norms = np.log(np.linalg.norm(shown[OUTCOME], axis=1))
    beside = np.repeat(norms.reshape(-1, NUM_PHOTOS).mean(axis=1), NUM_PHOTOS)
    assert abs(np.corrcoef(person(shown), beside)[0, 1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("level", mint_plus.LEVELS)
def test_nothing_is_found_where_nothing_is(level: str) -> None:
    train, world = draw_world(15), draw_world(16)
    score = MintPlus(level=level, ingredients=mint_plus.available(train[0], level)).fit(*train)
    found = estimate(world, score(world[0]))
    assert found.low < 0.5 < found.high
    # Whoever is compared with a cohort that has, or lacks, the person for being a member, gives the truth away here.
    near_members = mint_plus.cross_fitted(MintPlus(level=level), *train, ("cohort",), 1)[:, 0]
    assert abs(metrics.auc(train[1], near_members) - 0.5) < 0.12


def test_the_reference_cancels_what_is_in_the_people() -> None:
    (train, of_train), (test, of_test) = draw_world(5, signal="compact"), draw_world(6, signal="compact")
    aucs = []
    for names in (("others",), ("others", "reference_others")):
        score = MintPlus(level=OF_PERSON, ingredients=names).fit(train, of_train)
        aucs.append(metrics.auc(of_test, score(test)))
    assert aucs[1] > aucs[0] + 0.03


def test_a_person_has_one_score_and_rows_have_no_order() -> None:
    score = MintPlus(level=OF_PERSON).fit(*draw_world(1, signal="compact"))
    features, is_member = draw_world(2, signal="compact")
    logit = score(features).reshape(-1, NUM_PHOTOS)
    np.testing.assert_array_equal(logit, logit[:, :1].repeat(NUM_PHOTOS, axis=1))
    assert metrics.auc(is_member, logit.ravel()) > 0.8
    order = np.random.default_rng(1).permutation(len(is_member))
    shuffled = score(features.take(order))
    np.testing.assert_allclose(shuffled, logit.ravel()[order], rtol=1e-4, atol=1e-4)


def test_same_seed_same_scores() -> None:
    train, test = draw_world(1, signal="norm"), draw_world(2)[0]
    logits = [MintPlus().fit(*train, seed=seed)(test) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_image_membership_is_of_photos() -> None:
    def photos(seed: int) -> World:
        features, _ = draw_world(seed, 60)
        is_member = np.arange(60 * NUM_PHOTOS) % NUM_PHOTOS < NUM_PHOTOS // 2
        features[OUTCOME][is_member] += 0.8 * ingredients.centroids(features[OUTCOME], features.people())[is_member] * 4
        return features, is_member

    score = MintPlus(IMAGE, WITH_OTHERS).fit(*photos(1))
    features, is_member = photos(2)
    assert metrics.auc(is_member, score(features)) > 0.75


def test_the_only_photo_of_a_person_has_no_score() -> None:
    score = MintPlus(level=WITH_OTHERS).fit(*draw_world(1))
    features, _ = draw_world(2)
    alone = features.take(np.arange(3, 2 * NUM_PHOTOS))
    np.testing.assert_array_equal(np.isnan(score(alone)), np.arange(2 * NUM_PHOTOS - 3) == 0)


def test_calibration_people_are_never_scored() -> None:
    train, is_member = draw_world(1)
    score = MintPlus(ingredients=("norm",)).fit(train, is_member)
    with pytest.raises(InputError, match="received 80 of them, such as 'web/1-0000'"):
        score(train)
    other = draw_world(2)[0].take(np.array([0]))
    assert np.isfinite(score(other)).all()
    with pytest.raises(InputError, match="received 1 of them"):
        last = train.take(np.array([len(train) - 1]))
        both = {name: np.concatenate([values, last[name]]) for name, values in other.arrays.items()}
        score(Observations(concatenate_tables([other.table, last.table]), both))


def test_what_cannot_be_calibrated_is_refused() -> None:
    features, is_member = draw_world(1, 40)
    with pytest.raises(InputError, match="0 externals"):
        MintPlus().fit(features, np.ones_like(is_member))
    mixed = is_member.copy()
    mixed[0] = False
    with pytest.raises(InputError, match="1 who are both, such as 'web/1-0000'"):
        MintPlus().fit(features, mixed)
    with pytest.raises(InputError, match="on both sides for image membership"):
        MintPlus(IMAGE).fit(features, is_member)
    with pytest.raises(InputError, match="level of photos"):
        MintPlus(IMAGE, OF_PERSON).fit(features, np.arange(160) % 2 == 0)
    few = np.flatnonzero(np.arange(160) // NUM_PHOTOS > 10)
    with pytest.raises(InputError, match="at least 10 people a side to calibrate on, received 9"):
        MintPlus().fit(features.take(few), is_member[few])
    for wrong in ({"level": "x"}, {"ingredients": ("x",)}, {"truth": "x"}):
        with pytest.raises(InputError, match="received 'x'"):
            MintPlus(**wrong).fit(features, is_member)
    for refused in (("others",), ()):
        with pytest.raises(InputError, match=r"that the level 'photo' and the features allow"):
            MintPlus(ingredients=refused).fit(features, is_member)
    score = MintPlus(ingredients=("views",)).fit(features, is_member)
    lacking = without(draw_world(2)[0], views.COSINES)
    with pytest.raises(InputError, match="features allow"):
        score(lacking)


def test_defaults_depend_on_what_is_asked() -> None:
    features, _ = draw_world(1)
    features = features.adding(**{views.OUTCOMES: np.ones((*features[views.COSINES].shape, SIZE), np.float16)})
    alone = without(features, REFERENCE)
    extra = set(mint_plus.defaults(alone, WITH_OTHERS, IMAGE)) - set(mint_plus.defaults(alone, WITH_OTHERS))
    assert extra == {"grouped"}
    # Of images what only the audited network says is enough: with all columns the AUC was 0.75, and 0.78 with these.
    assert mint_plus.defaults(features, WITH_OTHERS, IMAGE) == ("reference_others", "grouped")
    assert mint_plus.defaults(features, PHOTO, IMAGE) == mint_plus.defaults(features, PHOTO)


@pytest.mark.parametrize("names", [("grouped",), ("norm",)])
def test_references_are_looked_at_in_fit_and_in_scoring_or_in_neither(names: tuple[str, ...]) -> None:
    (seen, is_member), (others, _) = draw_world(1), draw_world(2)
    score = MintPlus(level=OF_PERSON, ingredients=names).fit(seen, is_member)
    alone = MintPlus(level=OF_PERSON, ingredients=names).fit(without(seen, REFERENCE), is_member)
    logit, of_alone = score(others), alone(without(others, REFERENCE))
    if names == ("norm",):
        np.testing.assert_array_equal(logit, of_alone)
        np.testing.assert_array_equal(score(without(others, REFERENCE)), logit)
        return
    matrix = ingredients.grouped(seen, ingredients.cohort_of(seen, is_member))["nearness"].reshape(-1, NUM_PHOTOS)
    assert score.classifier[0].mean_[0] == pytest.approx(matrix.mean())  # as it scores, less the reference
    assert not np.allclose(logit, of_alone)
    for fitted, shown in ((score, without(others, REFERENCE)), (alone, others)):
        with pytest.raises(InputError, match="the references that it was fitted beside"):
            fitted(shown)


def test_the_calibration_is_half_of_the_people_of_each_side() -> None:
    seen, is_member = draw_world(1, 40)
    people = seen.people()
    first = mint_plus.split_calibration(people, is_member, 1)
    assert not set(people[first]) & set(people[~first])
    assert (first[is_member].sum(), first[~is_member].sum()) == (10 * NUM_PHOTOS, 10 * NUM_PHOTOS)
    photos = np.arange(len(is_member)) % 2 == 0  # of images: nobody is on one side only
    assert mint_plus.split_calibration(people, photos, 1).sum() == 20 * NUM_PHOTOS
    assert not np.array_equal(first, mint_plus.split_calibration(people, is_member, 2))


def test_from_pixels_to_an_interval() -> None:
    """Claimed members of an untrained model: nobody is one."""
    keras.utils.set_random_seed(1)
    table = synthetic.sample_table("synthetic:1/web/0-39/2")
    network = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), 32)
    seen = observe(table, views.face_function(network), images.Framing(32))
    is_member = np.arange(len(seen)) < 40
    calibration = mint_plus.split_calibration(seen.people(), is_member, 1)
    score = MintPlus(level=WITH_OTHERS).fit(seen.take(calibration), is_member[calibration])
    assert score.ingredients == ("norm", "views", "cohort", "others", "centroid", "margin", "others_views", "log_odds")
    logit = score(seen.take(~calibration))
    scores = Scores("mint_plus", "outcome", "null", 1, table.take(~calibration), is_member[~calibration], logit)
    found = intervals.estimate([scores])["auc"]
    assert found.low < 0.5 < found.high
