import numpy as np
import pytest

from mint_keras import records
from mint_keras.records import InputError, SampleTable


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


def test_sigmoid_keeps_confident_scores_apart() -> None:
    scores = records.sigmoid(np.array([-800.0, 0.0, 20.0, 21.0], np.float32))
    assert scores[0] == 0.0
    assert scores[1] == 0.5
    assert scores[2] < scores[3] < 1.0
