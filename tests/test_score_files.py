"""Scores and results on disk, today's and those of before 0.2, whose scorers had the model in their names."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from mint_keras import score_files
from mint_keras.data import sample_tables, samples
from mint_keras.records import AUDITED, UNTRAINED, InputError, NoSamplesError, ResultRow, SampleTable, Scores
from mint_keras.statistics import bounds, conformal, figures, intervals, paired, person
from tests.statistics.worlds import scores_of

FORMATS = ("scores.csv", "scores.parquet")


@pytest.fixture
def table() -> SampleTable:
    columns = (["s1", "s,2"], ["a", 'b"'], ["x", "y"], ["/p/1.png", "synthetic:1/web/0/0"])
    return SampleTable(*(np.array(column) for column in columns))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("is_member", [np.array([True, False]), None])
def test_scores_round_trip_every_digit(
    tmp_path: Path, table: SampleTable, is_member: np.ndarray | None, name: str
) -> None:
    logit = np.array([np.pi, -30.1], np.float32)
    written = Scores("vanilla", "conv1", "main", 7, table, is_member, logit, "foreign_2")
    score_files.write_scores(tmp_path / name, [written])
    (back,) = score_files.read_scores(tmp_path / name)
    assert (back.scorer, back.model, back.tap, back.evaluation, back.seed) == (
        "vanilla", "foreign_2", "conv1", "main", 7,
    )  # fmt: skip
    np.testing.assert_array_equal(back.logit, logit)
    for column in ("sample_id", "database", "identity"):
        np.testing.assert_array_equal(getattr(back.samples, column), getattr(table, column))
    assert back.samples.group is None
    assert is_member is back.is_member is None or (back.is_member == is_member).all()


def test_the_columns_of_a_csv(tmp_path: Path, table: SampleTable) -> None:
    logit = np.array([np.pi, -30.1], np.float32)
    part = Scores("vanilla", "conv1", "main", 7, table, np.array([True, False]), logit)
    score_files.write_scores(tmp_path / "scores.csv", [part])
    header, first = (tmp_path / "scores.csv").read_text().splitlines()[:2]
    assert header == "scorer,model,tap,evaluation,seed,sample_id,database,identity,group,is_member,score,logit,folds"
    assert first.startswith("vanilla,audited,conv1,main,7,s1,a,x,,true,")
    assert float(first.split(",")[-3]) == part.score[0]


@pytest.mark.parametrize("name", FORMATS)
def test_scores_that_were_cross_fitted_say_so(tmp_path: Path, table: SampleTable, name: str) -> None:
    """Their intervals are wider: a file that lost it would make them too narrow."""
    part = Scores("mint_plus", "photo", "main", 1, table, None, np.zeros(2, np.float32), num_folds=5)
    score_files.write_scores(tmp_path / name, [part, dataclasses.replace(part, model="lab2", num_folds=0)])
    assert [back.num_folds for back in score_files.read_scores(tmp_path / name)] == [5, 0]


def test_scores_of_before_were_not_cross_fitted(tmp_path: Path, table: SampleTable) -> None:
    part = Scores("mint_plus", "photo", "main", 1, table, None, np.zeros(2, np.float32))
    path = tmp_path / "scores.csv"
    score_files.write_scores(path, [part])
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    assert score_files.read_scores(path)[0].num_folds == 0


@pytest.mark.parametrize("name", FORMATS)
def test_two_records_of_one_person_stay_one_person(tmp_path: Path, table: SampleTable, name: str) -> None:
    grouped = dataclasses.replace(table, database=np.array(["a", "a"]), group=np.array(["", "x"]))
    part = Scores("vanilla", "conv1", "main", 1, grouped, None, np.zeros(2, np.float32))
    score_files.write_scores(tmp_path / name, [part])
    (back,) = score_files.read_scores(tmp_path / name)
    assert back.samples.people().tolist() == ["a/x", "a/x"]
    np.testing.assert_array_equal(back.samples.group, grouped.group)


@pytest.mark.parametrize("name", FORMATS)
def test_scores_of_several_scorers_and_models(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    known = scores_of(np.arange(6) < 3, np.arange(6) // 2, rng.normal(size=6))
    untrained = dataclasses.replace(known, model=UNTRAINED, logit=known.logit + 1)
    unknown = dataclasses.replace(known, scorer="other", is_member=None, logit=np.float32([0, 1, -1, 2, 50, 3]))
    score_files.write_scores(tmp_path / name, [known, untrained, unknown])
    found = score_files.read_scores(tmp_path / name)
    names = [(part.scorer, part.model) for part in found]
    assert names == [("vanilla", AUDITED), ("vanilla", UNTRAINED), ("other", AUDITED)]
    for part, kept in zip((known, untrained, unknown), found, strict=True):
        assert (kept.tap, kept.evaluation, kept.seed) == (part.tap, part.evaluation, part.seed)
        np.testing.assert_array_equal(kept.logit, part.logit)
        np.testing.assert_array_equal(kept.samples.people(), part.samples.people())
        np.testing.assert_array_equal(kept.is_member, part.is_member)


def test_bad_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("scorer,tap\n")
    with pytest.raises(InputError, match="columns"):
        score_files.read_scores(path)
    row = dict.fromkeys(score_files.SCORE_COLUMNS, "x") | {"seed": "1", "score": "0.5", "logit": "0"}
    for wrong, message in (({"is_member": "maybe"}, "true/false"), ({"is_member": "true", "logit": "y"}, "numbers")):
        path.write_text(",".join(score_files.SCORE_COLUMNS) + "\n" + ",".join((row | wrong).values()) + "\n")
        with pytest.raises(InputError, match=message):
            score_files.read_scores(path)


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="Parquet"):
        score_files.read_scores(path)
    sample_tables.write_samples(path, scores_of(np.arange(2) < 1, np.arange(2), np.zeros(2)).samples)
    with pytest.raises(InputError, match=r"without \['scorer'"):
        score_files.read_scores(path)


class TestBefore:
    """Files that 0.1 wrote."""

    def test_csv(self, tmp_path: Path) -> None:
        (tmp_path / "scores.csv").write_text(
            "scorer,tap,evaluation,seed,sample_id,database,identity,is_member,score,logit\n"
            "vanilla,conv1,main,1,s1,a,x,true,0.5,0.0\n"
            "vanilla_untrained,conv1,main,1,s1,a,x,true,0.8807970779778823,2.0\n"
            "vanilla_untrained,conv1,main,1,s2,a,y,false,0.5,0.0\n"
            "embedding_norm_untrained,outcome,main,1,s1,a,x,,0.5,0.0\n"
        )
        found = score_files.read_scores(tmp_path / "scores.csv")
        names = [(part.scorer, part.model, part.tap, len(part.logit)) for part in found]
        assert names == [
            ("vanilla", AUDITED, "conv1", 1),
            ("vanilla", UNTRAINED, "conv1", 2),
            ("embedding_norm", UNTRAINED, "outcome", 1),
        ]
        assert found[1].is_member.tolist() == [True, False]
        assert found[1].logit.tolist() == [2.0, 0.0]
        assert found[1].score[0] == pytest.approx(0.8807970779778823, abs=1e-15)
        assert found[2].is_member is None
        assert found[0].samples.group is None

    def test_parquet(self, tmp_path: Path) -> None:
        columns = {
            "scorer": ["mint_plus:foreign_2", "mint_plus:foreign_2", "mint_plus", "pixels"],
            "tap": ["photo"] * 4,
            "evaluation": ["same_database"] * 4,
            "seed": [3] * 4,
            "sample_id": ["a", "b", "a", "a"],
            "database": ["web"] * 4,
            "identity": ["x", "y", "x", "x"],
            "is_member": [True, False, True, None],
            "logit": pyarrow.array([0.5, -1.5, 2.5, 0.0], pyarrow.float32()),
        }
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "scores.parquet")
        found = score_files.read_scores(tmp_path / "scores.parquet")
        names = [(part.scorer, part.model, part.seed) for part in found]
        assert names == [("mint_plus", "foreign_2", 3), ("mint_plus", AUDITED, 3), ("pixels", AUDITED, 3)]
        assert found[0].is_member.tolist() == [True, False]
        assert found[0].is_member.dtype == bool
        assert found[0].logit.tolist() == [0.5, -1.5]
        assert found[2].is_member is None

    def test_results(self, tmp_path: Path) -> None:
        row = ResultRow("cnn", "conv1", "main", 1, 10, 10, 0.5, 12.5, 0.7, 0.4, 0.0)
        lines = []
        for scorer in ("cnn", "cnn_untrained"):
            fields = {**dataclasses.asdict(row), "scorer": scorer}
            del fields["model"]
            lines.append(json.dumps(fields))
        (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
        assert score_files.read_results(tmp_path / "results.jsonl") == [
            row, dataclasses.replace(row, model=UNTRAINED),
        ]  # fmt: skip


def test_results_round_trip(tmp_path: Path) -> None:
    rows = [ResultRow("vanilla", "conv1", "main", 1, 10, 10, 0.5, 12.5, 0.7, 0.4, 0.0, model) for model in "ab"]
    score_files.write_results(tmp_path / "results.jsonl", rows)
    assert score_files.read_results(tmp_path / "results.jsonl") == rows
    for wrong in ('{"scorer": "vanilla"}', "{}", "{"):
        (tmp_path / "results.jsonl").write_text(wrong + "\n")
        with pytest.raises(InputError, match="Expected results"):
            score_files.read_results(tmp_path / "results.jsonl")


def one(num: int = 6) -> Scores:
    return scores_of(np.arange(num) < num // 2, np.arange(num), np.linspace(-1, 1, num))


def with_values(path: Path, column: str, values: list) -> None:
    """Writes good scores, and then other values into a column, as a spreadsheet or another program may."""
    score_files.write_scores(path, [one(len(values))])
    if path.suffix == ".csv":
        header, *rows = path.read_text().splitlines()
        at = header.split(",").index(column)
        cells = [row.split(",") for row in rows]
        changed = [
            [*row[:at], "" if value is None else str(value), *row[at + 1 :]]
            for row, value in zip(cells, values, strict=True)
        ]
        path.write_text("\n".join([header, *map(",".join, changed)]) + "\n")
    else:
        table = pyarrow.parquet.read_table(path)
        at = table.column_names.index(column)
        pyarrow.parquet.write_table(table.set_column(at, column, pyarrow.array(values)), path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("logit", [0.5, 1.0, 2.0, np.nan, np.nan, np.nan], "3 of 6 not, such as nan for 'photo00003'"),
        ("logit", [0.5, -np.inf, 2.0, 0.0, 0.0, 0.0], "1 of 6 not, such as -inf for 'photo00001'"),
        ("logit", [0.5, None, 2.0, 0.0, 0.0, 0.0], "Expected"),
        ("sample_id", ["a", "b", "a", "c", "d", "e"], "1 twice, such as 'a'"),
        ("is_member", ["true", "true", None, "false", "false", None], "2 of 6 without, such as 'photo00002'"),
        ("is_member", ["true", "true", "yes", "false", "false", "false"], "true/false"),
        ("seed", ["1", "1", "1", "1", "1", "x"], "Expected numbers"),
    ],
)
def test_scores_that_would_be_wrong_are_refused_in_one_line(
    tmp_path: Path, name: str, column: str, values: list, message: str
) -> None:
    with_values(tmp_path / name, column, values)
    with pytest.raises(InputError, match=message) as caught:
        score_files.read_scores(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_no_scores(tmp_path: Path, name: str) -> None:
    for nothing in ([], [paired.take(one(), np.zeros(6, bool))]):
        with pytest.raises(NoSamplesError, match="at least one score to write"):
            score_files.write_scores(tmp_path / name, nothing)
    assert not (tmp_path / name).exists()
    score_files.write_scores(tmp_path / name, [one()])
    if name.endswith("csv"):
        (tmp_path / name).write_text((tmp_path / name).read_text().splitlines()[0] + "\n")
    else:
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(tmp_path / name).slice(0, 0), tmp_path / name)
    with pytest.raises(NoSamplesError, match="empty table"):
        score_files.read_scores(tmp_path / name)


def test_truth_values_stay_truth_values_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    score_files.write_scores(path, [one(), dataclasses.replace(one(), scorer="other", is_member=None)])
    column = pyarrow.parquet.read_table(path)["is_member"]
    assert column.type == pyarrow.bool_()
    assert column.to_pylist() == [True] * 3 + [False] * 3 + [None] * 6


def test_nulls_in_parquet_are_no_group_called_none(tmp_path: Path) -> None:
    with_values(tmp_path / "scores.parquet", "group", ["x", "x", None, None, None, None])
    (part,) = score_files.read_scores(tmp_path / "scores.parquet")
    assert part.samples.people().tolist() == ["web/x", "web/x", "web/2", "web/3", "web/4", "web/5"]


class TestPeople:
    """300 records of 80 members and 300 of 170 others, who are known by their group: each is one person everywhere."""

    @pytest.fixture
    def part(self) -> Scores:
        rng = np.random.default_rng(1)
        is_member = np.arange(600) < 300
        group = np.where(is_member, np.arange(600) % 80, 80 + np.arange(600) % 170)
        found = scores_of(is_member, np.arange(600), rng.normal(size=250)[group] + 0.1 * rng.normal(size=600))
        table = dataclasses.replace(found.samples, group=np.char.add("g", group.astype(str)))
        return dataclasses.replace(found, samples=table)

    @pytest.mark.parametrize("name", FORMATS)
    def test_in_scores(self, tmp_path: Path, part: Scores, name: str) -> None:
        score_files.write_scores(tmp_path / name, [part])
        (back,) = score_files.read_scores(tmp_path / name)
        assert figures.count_people(back) == figures.count_people(part) == (80, 170)
        expected = intervals.estimate([part], 100, names=["auc"])["auc"]
        assert intervals.estimate([back], 100, names=["auc"])["auc"] == expected
        assert paired.difference([back], [part], 20, names=["auc"])["auc"].half_width == 0
        records = dataclasses.replace(back, samples=dataclasses.replace(back.samples, group=None))
        assert intervals.estimate([records], 100, names=["auc"])["auc"].half_width < 0.8 * expected.half_width
        found = bounds.certify([back])
        assert (found.num_members, found.num_externals) == (80, 170)
        assert len(person.aggregate(back, 1).logit) == 250

    @pytest.mark.parametrize("name", ["samples.parquet", "members.parquet", "held_out.parquet"])
    def test_in_lists_of_samples(self, tmp_path: Path, part: Scores, name: str) -> None:
        sample_tables.write_samples(tmp_path / name, part.samples)
        for back in (sample_tables.read_samples(tmp_path / name), samples.list_samples(str(tmp_path / name))):
            assert back.people().tolist() == part.samples.people().tolist()

    def test_in_a_bundles_calibration(self, part: Scores) -> None:
        nobody = np.array([], str)
        externals, others = (
            paired.take(dataclasses.replace(part, is_member=None), side) for side in (~part.is_member, part.is_member)
        )
        others = dataclasses.replace(
            others, samples=dataclasses.replace(others.samples, database=np.full(len(others.logit), "scan"))
        )
        found = conformal.verify(conformal.calibrate(externals, nobody), others, nobody)
        assert len(found.logits["web"]) == 170
        assert found.validity is not None
        assert found.validity.num_people == 80
