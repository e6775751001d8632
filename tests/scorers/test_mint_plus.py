"""MINT+ on features whose truth is known, and on a small model from pixels to an interval."""

import keras
import numpy as np
import pytest

from mint_keras.aad import signals, views
from mint_keras.audited import iresnet
from mint_keras.data import synthetic
from mint_keras.records import InputError, SampleTable, Scores
from mint_keras.scorers import ingredients, mint_plus
from mint_keras.scorers.baselines import OUTCOME, PERSON
from mint_keras.scorers.mint_plus import IMAGE, OF_PERSON, PHOTO, WITH_OTHERS
from mint_keras.statistics import intervals, metrics

NUM_PHOTOS, SIZE = 4, 24
REFERENCE = f"{ingredients.REFERENCE}_model"
World = tuple[dict[str, np.ndarray], np.ndarray]


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
    features = {
        OUTCOME: outcome.astype(np.float32),
        REFERENCE: (centres[person] @ rng.normal(size=(SIZE, 12)) / 5 + spread[:, None] * noise[:, :12]),
        PERSON: np.array([f"web/{seed}-{number:04d}" for number in person]),
        views.COSINES: 1 - rng.uniform(0.01, 0.1, shape) * np.where(is_member & (signal == "views"), 0.7, 1)[:, None],
        views.NORM_RATIOS: rng.normal(size=shape),
        signals.BN_DISTANCE: rng.gamma(2.0, size=(len(person), 3)),
        "conv1_max": rng.normal(size=(len(person), 5)),
    }
    return features, is_member


def estimate(world: World, logit: np.ndarray) -> intervals.Estimate:
    features, is_member = world
    person = np.char.partition(features[PERSON], "/")
    table = SampleTable(np.arange(len(logit)).astype(str), person[:, 0], person[:, 2], np.full(len(logit), ""))
    return intervals.estimate([Scores("mint_plus", "", "", 1, table, is_member, logit)])["auc"]


@pytest.mark.parametrize(
    ("signal", "level", "least"),
    [("norm", PHOTO, 0.8), ("views", PHOTO, 0.8), ("pushed", PHOTO, 0.8), ("compact", WITH_OTHERS, 0.75)],
)
def test_a_planted_signal_is_found_in_other_people(signal: str, level: str, least: float) -> None:
    score = mint_plus.fit(*draw_world(1, signal=signal), level=level)
    world = draw_world(2, signal=signal)
    logit = score(world[0])
    assert (logit.shape, logit.dtype) == (world[1].shape, np.float32)
    assert metrics.auc(world[1], logit) > least
    assert score.calibration_auc > least
    assert np.mean((logit > 0) == world[1]) > 0.6


@pytest.mark.parametrize("level", mint_plus.LEVELS)
def test_nothing_is_found_where_nothing_is(level: str) -> None:
    train, world = draw_world(3), draw_world(4)
    score = mint_plus.fit(*train, level=level, ingredients=mint_plus.available(train[0], level))
    found = estimate(world, score(world[0]))
    assert found.low < 0.5 < found.high
    # Whoever is compared with a cohort that has, or lacks, the person for being a member, gives the truth away here.
    assert abs(score.calibration_auc - 0.5) < 0.12


def test_the_reference_cancels_what_is_in_the_people() -> None:
    (train, of_train), (test, of_test) = draw_world(5, signal="compact"), draw_world(6, signal="compact")
    aucs = []
    for names in (["others"], ["others", "reference_others"]):
        score = mint_plus.fit(train, of_train, level=OF_PERSON, ingredients=names)
        aucs.append(metrics.auc(of_test, score(test)))
    assert aucs[1] > aucs[0] + 0.03


def test_a_person_has_one_score_and_rows_have_no_order() -> None:
    score = mint_plus.fit(*draw_world(1, signal="compact"), level=OF_PERSON)
    features, is_member = draw_world(2, signal="compact")
    logit = score(features).reshape(-1, NUM_PHOTOS)
    np.testing.assert_array_equal(logit, logit[:, :1].repeat(NUM_PHOTOS, axis=1))
    assert metrics.auc(is_member, logit.ravel()) > 0.8
    order = np.random.default_rng(1).permutation(len(is_member))
    shuffled = score({name: values[order] for name, values in features.items()})
    np.testing.assert_allclose(shuffled, logit.ravel()[order], rtol=1e-4, atol=1e-4)


def test_same_seed_same_scores() -> None:
    train, test = draw_world(1, signal="norm"), draw_world(2)[0]
    logits = [mint_plus.fit(*train, seed=seed)(test) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_image_membership_is_of_photos() -> None:
    def photos(seed: int) -> World:
        features, _ = draw_world(seed, 60)
        is_member = np.arange(60 * NUM_PHOTOS) % NUM_PHOTOS < NUM_PHOTOS // 2
        features[OUTCOME][is_member] += 0.8 * ingredients.centroids(features[OUTCOME], features[PERSON])[is_member] * 4
        return features, is_member

    score = mint_plus.fit(*photos(1), truth=IMAGE, level=WITH_OTHERS)
    features, is_member = photos(2)
    assert metrics.auc(is_member, score(features)) > 0.75
    assert score.calibration_auc > 0.75


def test_the_only_photo_of_a_person_has_no_score() -> None:
    score = mint_plus.fit(*draw_world(1), level=WITH_OTHERS)
    features, _ = draw_world(2)
    alone = {name: values[3 : 2 * NUM_PHOTOS] for name, values in features.items()}
    np.testing.assert_array_equal(np.isnan(score(alone)), np.arange(2 * NUM_PHOTOS - 3) == 0)


def test_calibration_people_are_never_scored() -> None:
    train, is_member = draw_world(1)
    score = mint_plus.fit(train, is_member, ingredients=["norm"])
    with pytest.raises(InputError, match="received 80 of them, such as 'web/1-0000'"):
        score(train)
    other = {name: values[:1] for name, values in draw_world(2)[0].items()}
    assert np.isfinite(score(other)).all()
    with pytest.raises(InputError, match="received 1 of them"):
        score({name: np.concatenate([values, train[name][-1:]]) for name, values in other.items()})


def test_what_cannot_be_calibrated_is_refused() -> None:
    features, is_member = draw_world(1, 40)
    with pytest.raises(InputError, match="0 externals"):
        mint_plus.fit(features, np.ones_like(is_member))
    mixed = is_member.copy()
    mixed[0] = False
    with pytest.raises(InputError, match="1 who are both, such as 'web/1-0000'"):
        mint_plus.fit(features, mixed)
    with pytest.raises(InputError, match="on both sides for image membership"):
        mint_plus.fit(features, is_member, truth=IMAGE)
    with pytest.raises(InputError, match="level of photos"):
        mint_plus.fit(features, np.arange(160) % 2 == 0, truth=IMAGE, level=OF_PERSON)
    few = np.flatnonzero(np.arange(160) // NUM_PHOTOS > 10)
    with pytest.raises(InputError, match="at least 10 people a side to calibrate on, received 9"):
        mint_plus.fit({name: values[few] for name, values in features.items()}, is_member[few])
    for wrong in ({"level": "x"}, {"classifier": "x"}, {"ingredients": ["x"]}, {"truth": "x"}):
        with pytest.raises(InputError, match="received 'x'"):
            mint_plus.fit(features, is_member, **wrong)
    for refused in (["others"], []):
        with pytest.raises(InputError, match=r"that the level 'photo' and the features allow"):
            mint_plus.fit(features, is_member, ingredients=refused)
    score = mint_plus.fit(features, is_member, ingredients=["views"])
    lacking = {name: values for name, values in draw_world(2)[0].items() if name != views.COSINES}
    with pytest.raises(InputError, match="features allow"):
        score(lacking)


def test_an_ablation_leaves_out_and_leaves_alone() -> None:
    drop = (views.COSINES, "conv1_max")
    worlds = [draw_world(seed, signal="norm") for seed in (1, 2)]
    small = [({name: values for name, values in f.items() if name not in drop}, m) for f, m in worlds]
    found = mint_plus.ablate(*small)
    assert set(found["default"].ingredients) == {"norm", "cohort", "reference"}
    names = {"default", "with batch_norm", "only batch_norm"}
    names |= {f"{kind} {name}" for kind in ("only", "without") for name in ("norm", "cohort", "reference")}
    assert set(found) == names
    assert found["only norm"].evaluation_auc > found["without norm"].evaluation_auc + 0.05
    assert found["only norm"].calibration_auc > 0.7
    few = {name: small[0][0][name] for name in (OUTCOME, PERSON)}
    assert {row.evaluation_auc for row in mint_plus.ablate((few, small[0][1])).values()} == {None}


def test_defaults_depend_on_what_is_asked() -> None:
    features, _ = draw_world(1)
    features[views.OUTCOMES] = np.ones((*features[views.COSINES].shape, SIZE), np.float16)
    extra = set(mint_plus.defaults(features, WITH_OTHERS, IMAGE)) - set(mint_plus.defaults(features, WITH_OTHERS))
    assert extra == {"others_views"}
    assert mint_plus.defaults(features, PHOTO, IMAGE) == mint_plus.defaults(features, PHOTO)


def test_boosting_takes_what_is_not_linear() -> None:
    aucs = []
    worlds = [draw_world(seed, 60) for seed in (1, 2)]
    for features, is_member in worlds:  # members are neither long nor short
        usual = views.log_norm(features[OUTCOME][~is_member]).mean()
        length = np.exp(usual + 0.03 * np.random.default_rng(1).normal(size=(is_member.sum(), 1)))
        features[OUTCOME][is_member] = ingredients.units(features[OUTCOME])[is_member] * length
    (train, of_train), (test, of_test) = worlds
    for classifier in mint_plus.CLASSIFIERS:
        score = mint_plus.fit(train, of_train, ingredients=["norm"], classifier=classifier)
        aucs.append(metrics.auc(of_test, score(test)))
    assert aucs[1] > max(0.75, aucs[0] + 0.1)


def test_the_calibration_is_half_of_the_people_of_each_side() -> None:
    features, is_member = draw_world(1, 40)
    first = mint_plus.split_calibration(features[PERSON], is_member, 1)
    assert not set(features[PERSON][first]) & set(features[PERSON][~first])
    assert (first[is_member].sum(), first[~is_member].sum()) == (10 * NUM_PHOTOS, 10 * NUM_PHOTOS)
    photos = np.arange(len(is_member)) % 2 == 0  # of images: nobody is on one side only
    assert mint_plus.split_calibration(features[PERSON], photos, 1).sum() == 20 * NUM_PHOTOS
    assert not np.array_equal(first, mint_plus.split_calibration(features[PERSON], is_member, 2))


def test_from_pixels_to_an_interval() -> None:
    """Claimed members of an untrained model: nobody is one."""
    keras.utils.set_random_seed(1)
    table = synthetic.sample_table("synthetic:1/web/0-39/2")
    rows, features = views.read(table, views.face_function(iresnet.build("tiny")))
    features |= {PERSON: table.take(rows).people()}
    is_member = np.arange(len(rows)) < 40
    calibration = mint_plus.split_calibration(features[PERSON], is_member, 1)
    parts = [{name: values[side] for name, values in features.items()} for side in (calibration, ~calibration)]
    score = mint_plus.fit(parts[0], is_member[calibration], level=WITH_OTHERS)
    assert score.ingredients == ("norm", "views", "cohort", "others", "centroid", "margin")
    logit = score(parts[1])
    scores = Scores("mint_plus", "outcome", "null", 1, table.take(~calibration), is_member[~calibration], logit)
    found = intervals.estimate([scores])["auc"]
    assert found.low < 0.5 < found.high
