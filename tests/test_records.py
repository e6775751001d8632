import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mint_keras import records
from mint_keras.aad.store import ShardedArray
from mint_keras.records import InputError, Labelled, Observations, SampleTable, Scores


def make_table(num: int, database: str = "a") -> SampleTable:
    numbers = [str(k) for k in range(num)]
    return SampleTable(*(np.array(c) for c in ([database + n for n in numbers], [database] * num, numbers, numbers)))


def test_columns_of_one_length() -> None:
    with pytest.raises(InputError, match="one length"):
        SampleTable(np.array(["a"]), np.array(["b"]), np.array(["c"]), np.array(["d", "e"]))


def test_take_and_concatenate() -> None:
    table = records.concatenate_tables([make_table(3), make_table(2, "b")])
    assert table.sample_id.tolist() == ["a0", "a1", "a2", "b0", "b1"]
    assert table.take(np.array([4, 0])).people().tolist() == ["b/1", "a/0"]
    assert len(table.take(table.database == "b")) == 2


def test_what_a_notebook_shows_is_one_line() -> None:
    seen = Observations(make_table(3), {"conv1": np.zeros((3, 50)), "outcome": np.zeros((3, 9))})
    assert repr(seen) == "Observations(3 photos, 3 people, a; conv1, outcome)"


def test_sigmoid_keeps_confident_scores_apart() -> None:
    scores = records.sigmoid(np.array([-800.0, 0.0, 20.0, 21.0], np.float32))
    assert scores[0] == 0.0
    assert scores[1] == 0.5
    assert scores[2] < scores[3] < 1.0


def test_labelled_rows_are_a_pair_with_names() -> None:
    side = Labelled(np.array([3, 5, 8, 9]), np.array([True, False, True, True]))
    rows, is_member = side
    assert rows is side.rows
    assert is_member is side.is_member
    kept = side.where(np.array([True, True, False, True]))
    assert isinstance(kept, Labelled)
    assert (kept.rows.tolist(), kept.is_member.tolist()) == ([3, 5, 9], [True, False, True])
    assert (side.smaller_side, kept.smaller_side, kept.where(kept.is_member).smaller_side) == (1, 1, 0)


class TestObservations:
    def sharded(self, folder: Path, values: np.ndarray) -> ShardedArray:
        paths = [folder / f"{number}.npy" for number in range(2)]
        for path, part in zip(paths, np.array_split(values, 2), strict=True):
            np.save(path, part)
        return ShardedArray(paths)

    @pytest.mark.parametrize("rows", [np.array([4, 0, 0]), np.array([True, False, False, True, False])])
    def test_rows_of_the_table_and_of_every_array(self, rows: np.ndarray, tmp_path: Path) -> None:
        maps, vectors = np.arange(40).reshape(5, 2, 4), np.arange(10.0).reshape(5, 2)
        seen = Observations(make_table(5), {"maps": self.sharded(tmp_path, maps), "vectors": vectors})
        some = seen.take(rows)
        assert isinstance(some["maps"], ShardedArray)  # nothing was read
        assert some["maps"].shape == (len(some), 2, 4)
        np.testing.assert_array_equal(some["maps"][:], maps[rows])
        np.testing.assert_array_equal(some["vectors"], vectors[rows])
        np.testing.assert_array_equal(some.people(), make_table(5).people()[rows])
        last = some.take(np.array([1]))  # of the rows that were taken
        np.testing.assert_array_equal(last["maps"][:], maps[rows][[1]])
        assert len(last) == 1

    def test_a_name_that_is_not_there(self) -> None:
        seen = Observations(make_table(2), {"b": np.zeros(2), "a": np.zeros(2)})
        with pytest.raises(InputError, match=r"Expected 'c' among what was observed, received only \['a', 'b'\]"):
            _ = seen["c"]

    def test_adding_leaves_what_was_there_alone(self) -> None:
        seen = Observations(make_table(2), {"a": np.zeros(2), "b": np.zeros(2)})
        more = seen.adding(b=np.ones(2), c=np.ones(2))
        assert (set(seen.arrays), set(more.arrays)) == ({"a", "b"}, {"a", "b", "c"})
        assert (seen["b"].sum(), more["b"].sum(), more["a"].sum()) == (0, 2, 0)
        assert more.table is seen.table


class TestScores:
    """Whatever makes scores, these never hold what figures would be wrong on."""

    table = make_table(4)
    truth = np.array([True, True, False, False])

    def make(self, logit: object, is_member: object = truth, table: SampleTable = table) -> Scores:
        return Scores("vanilla", "conv1", "main", 1, table, is_member, np.asarray(logit))  # type: ignore[arg-type]

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
    def test_a_logit_that_is_no_number_is_named(self, wrong: float) -> None:
        with pytest.raises(
            InputError, match=r"'vanilla' on 'conv1', received 2 of 4 not, such as .* for 'a1'"
        ) as caught:
            self.make([0.0, wrong, 1.0, wrong])
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="finite"):  # also where scores are made of others
            dataclasses.replace(self.make(np.zeros(4)), logit=np.full(4, wrong))

    def test_a_sample_counts_once(self) -> None:
        with pytest.raises(InputError, match=r"received 1 twice, such as 'a0'"):
            self.make(np.zeros(4), table=self.table.take(np.array([0, 1, 2, 0])))

    @pytest.mark.parametrize(
        ("logit", "is_member"),
        [
            (np.zeros(3), truth),
            (np.zeros((4, 1)), truth),
            (np.zeros(4), truth[:3]),
            (np.zeros(4), np.array([1, 0, 1, 0])),
        ],
    )
    def test_columns_go_together(self, logit: np.ndarray, is_member: np.ndarray) -> None:
        with pytest.raises(InputError, match="Expected 4 logits"):
            self.make(logit, is_member)

    def test_what_can_be_used_is_kept(self) -> None:
        found = self.make(np.array([50.0, 60.0, -1.0, 0.0]))
        assert found.logit.dtype == np.float32
        assert found.score.tolist()[:2] == [1.0, 1.0]  # why no figure is of scores
        assert len(self.make([], None, self.table.take(np.arange(0))).logit) == 0
