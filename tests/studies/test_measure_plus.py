"""What MINT+ is measured on: who is a member in which measure, and a small world from training to table."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import synthetic
from mint_keras.records import InputError, Observations, concatenate_tables
from studies.measure_plus import MeasurePlus, measure_plus
from studies.plus.known import KnownPhotos
from studies.plus.measures import MEASURES, Measure, halves

OPTIONS = MeasurePlus(Path("out"))


@pytest.fixture
def photos() -> KnownPhotos:
    """Ten people trained on, of two of four photos each; ten others of two photos."""
    members = synthetic.sample_table("synthetic:1/web/0-9/4")
    others = synthetic.sample_table("synthetic:1/web/10-19/2")
    table = concatenate_tables([members, others])
    index = np.array([int(name[-3:]) for name in table.sample_id])
    is_member = np.arange(len(table)) < len(members)
    return KnownPhotos(Observations(table, {}), is_member, is_member & (index < 2))


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_sides_and_halves(measure: Measure, photos: KnownPhotos) -> None:
    both = halves(measure, photos, 2)
    people = [set(half.people) for half, _ in both]
    assert not people[0] & people[1]
    for half, is_member in both:
        assert len(is_member) == len(half.seen)
        assert 0 < is_member.sum() < len(is_member)
        on_both = set(half.people[is_member]) & set(half.people[~is_member])
        if measure.truth == "image":
            assert on_both == set(half.people)  # photos differ, people do not
            assert half.is_member.all()
            np.testing.assert_array_equal(is_member, half.is_used)
        else:
            assert not on_both
            assert not (half.is_member & ~half.is_used).any()  # members by photos that were used
            assert (half.is_member == is_member).all() == (measure.truth == "identity")


@pytest.mark.long
def test_a_small_world(tmp_path: Path) -> None:
    config = MeasurePlus(tmp_path / "out", num_worlds=1, people=80, photos=2, arch="tiny", resolution=16, epochs=1)
    done = measure_plus(config)
    content = formats.read_json(config.out / "mint_plus.json")
    assert done.content == content
    assert set(content["mint_plus"]) == {measure.name for measure in MEASURES}
    for name, (value,) in content["by_world"].items():
        assert content["mint_plus"][name]["value"] == pytest.approx(value)
        assert content["mint_plus"][name]["low"] < value < content["mint_plus"][name]["high"]
    used, some = content["several_photos"]["used"][0], content["several_photos"]["some_used"][0]
    assert (len(used), len(some)) == (2, 3)
    assert used[-1] == pytest.approx(some[-1])
    assert (config.out / "mint_plus.md").read_text() in done.text
    assert measure_plus(config).text == done.text


def test_no_world(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one world"):
        measure_plus(dataclasses.replace(OPTIONS, out=tmp_path / "out", num_worlds=0))


@pytest.mark.parametrize("wrong", [{"people": 79}, {"photos": 1}])
def test_worlds_that_are_too_small_are_refused_before_a_model_is_trained(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match="at least 80 people of two photos"):
        measure_plus(MeasurePlus(tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()
