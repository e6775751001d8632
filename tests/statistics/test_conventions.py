"""Ways of scaling pixels are ranked by what differs on the same faces, and ties are said."""

import numpy as np

from mint_keras.statistics import conventions


def test_margins_tell_what_differs_on_the_same_pairs_and_not_what_does_not() -> None:
    rng = np.random.default_rng(3)
    genuine = np.repeat([True, False], 200)
    noise = rng.normal(size=400)
    right = np.where(genuine, 3.0, 0.0) + noise
    # Worse by a tenth on the same pairs: far less than the pairs' own spread.
    seen = {
        "worse": right - 0.3 * genuine + 0.05 * rng.normal(size=400),
        "right": right,
        "other": right * 2 + 1e-3 * rng.normal(size=400),
    }
    found = conventions.by_margin(seen, genuine, 1)
    assert {found[0].name, found[1].name} == {"right", "other"}
    assert found[2].name == "worse"
    assert found[2].behind_low > 0
    assert not conventions.told(found)
    assert found[2].high > found[0].low  # apart, the intervals overlap
    assert conventions.told([one for one in found if one.name != "other"])
    spread = np.sqrt((right[genuine].var() + right[~genuine].var()) / 2)
    value = next(one.value for one in found if one.name == "right")
    assert np.isclose(value, (right[genuine].mean() - right[~genuine].mean()) / spread)


def test_moments_tell_the_statistics_of_the_training() -> None:
    rng = np.random.default_rng(2)
    running = np.stack([rng.normal(size=6), rng.uniform(0.5, 2, 6)])
    values = running[0] + np.sqrt(running[1]) * rng.normal(size=(300, 50, 6))  # faces, places, channels

    def moments(x: np.ndarray) -> np.ndarray:
        return np.stack([x.mean(axis=1), (x**2).mean(axis=1)], axis=1)

    seen = {"doubled": moments(2 * values), "right": moments(values), "shifted": moments(values + 0.3)}
    found = conventions.by_moments(seen, running, 1)
    assert found[0].name == "right"
    assert conventions.told(found)
    # By hand: twice the deviation, and the means twice as far out.
    expected = np.mean((4 + running[0] ** 2 / running[1] - 1 - np.log(4)) / 2)
    assert np.isclose(next(one.value for one in found if one.name == "doubled"), expected, rtol=0.05)
    assert not conventions.told(conventions.by_moments({"one": seen["right"], "two": seen["right"]}, running, 1))
