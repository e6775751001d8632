"""Who is planted, what counts as found, and one run on a few drawn faces."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.records import InputError
from mint_keras.statistics import identities
from studies.measure_identities import (
    RESULTS,
    SECOND,
    TEXT,
    MeasureIdentities,
    Planted,
    judge,
    measure,
    measure_identities,
    plant,
)

PEOPLE = np.repeat([f"person {number:02d}" for number in range(40)], 4)


def merged(*groups: tuple[str, ...]) -> identities.Merged:
    return identities.Merged(np.empty(0), groups, 0.5, 1.0, 0.0, 0, 0, 0)


def test_everybody_is_split_once() -> None:
    people = np.append(PEOPLE, "with one photo")
    rounds = [plant(people, number, 5, seed=1) for number in range(5)]
    split = [name for planted in rounds for name in planted.split]
    assert sorted(split) == sorted(set(PEOPLE.tolist()))
    for planted in rounds:
        assert len(planted.hidden) == 4
        assert not set(planted.split) & set(planted.hidden)
        for name in planted.split:
            assert np.count_nonzero(planted.people == name) == np.count_nonzero(planted.people == name + SECOND) == 2
        for name in planted.hidden:
            (borrowed,) = set(planted.people[people == name].tolist())
            assert borrowed not in (name, *planted.split)
            assert np.count_nonzero(planted.people == borrowed) >= 5
    assert (plant(people, 2, 5, seed=1).people == rounds[2].people).all()
    assert (plant(people, 2, 5, seed=2).people != rounds[2].people).any()


def test_what_counts_as_found() -> None:
    planted = Planted(np.empty(0), ("a", "b", "c"), ())
    found = merged(("a", "a" + SECOND), ("b", "d"), ("c", "c" + SECOND, "e", "f"))
    assert judge(found, planted) == {"num_found": 2, "num_false": 3, "largest": 3}
    assert judge(merged(), planted) == {"num_found": 0, "num_false": 0, "largest": 1}


def test_measure() -> None:
    rng = np.random.default_rng(1)
    embeddings = np.repeat(rng.normal(size=(40, 32)), 4, axis=0) + 0.3 * rng.normal(size=(160, 32))
    found = measure(embeddings, PEOPLE, 5, seed=1)
    assert found["is_competent"]
    assert found["true_names"]["num_false"] == 0
    assert (found["planted"]["num_split"], found["planted"]["num_found"]) == (40, 40)
    assert found["planted"]["recall"]["low"] == pytest.approx(0.025 ** (1 / 40))
    inspected = found["inspected"]
    assert (inspected["num_told"], inspected["num_false"]) == (found["planted"]["num_hidden"], 0)
    assert inspected["num_found"] >= 38
    assert inspected["num_falsely_told"] < 0.2 * inspected["num_others"]
    assert found["flat"] == {
        "num_groups": 40, "num_photos": 160, "num_of_one": 40, "num_pairs_found": 240, "num_pairs": 240,
    }  # fmt: skip
    noise = measure(rng.normal(size=(160, 32)), PEOPLE, 5, seed=1)
    assert not noise["is_competent"]
    assert not noise["inspected"]
    assert noise["planted"]["num_found"] < 10
    with pytest.raises(InputError, match="0 names have two photos"):
        measure(embeddings[::4], PEOPLE[::4], 5, seed=1)


@pytest.mark.long
def test_a_run_names_nobody_and_continues(tmp_path: Path) -> None:
    options = MeasureIdentities(tmp_path / "out", faces=("synthetic:1/web/0-23/2",), rounds=2)
    done = measure_identities(options)
    content = formats.read_json(options.out / RESULTS)
    assert done.content == content
    (world,) = content["worlds"]
    assert (world["num_names"], world["planted"]["num_split"], world["network"]) == (24, 24, "lab2")
    assert "000" not in (options.out / RESULTS).read_text().replace("0.000", "")  # web/1-000007 is a name
    assert (options.out / TEXT).read_text() in f"{done.text}\n"
    (options.out / "world_1.json").unlink()
    assert measure_identities(options).content == content


@pytest.mark.parametrize(
    "changes", [{"rounds": 1}, {"faces": ()}, {"networks": ()}, {"faces": ("a", "b"), "networks": (Path("a"),)}]
)
def test_options_that_measure_nothing(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(InputError, match="a network for each source"):
        measure_identities(MeasureIdentities(tmp_path / "out", **changes))
