"""The paper's tables: from scores files alone, and from a small run."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, paper, score_files
from mint_keras.commands.make_tables import MakeTables, make_tables
from mint_keras.records import AUDITED, UNTRAINED, InputError, RefusedError, SampleTable, Scores
from mint_keras.report import paper_files, paper_tables
from mint_keras.runs import paper_runs
from mint_keras.statistics import metrics

MODELS = ("fr1", "fr2", "fr3")
PICTURES = {"pictures": "cifar", "picture_externals": ("tiny", "coco"), "picture_evaluate": ("caltech",)}


_COLUMNS = ((AUDITED, "unseen_database"), (UNTRAINED, "unseen_database"), (AUDITED, "same_database"))


def made_up_scores(run: paper_runs.PaperRun, taps: set[str], rng: np.random.Generator) -> list[Scores]:
    names = np.array([f"s{i}" for i in range(40)])
    table = SampleTable(names, np.full(40, "db"), (np.arange(40) // 2).astype(str), names)
    is_member = np.arange(40) < 20
    return [
        Scores(run.head, tap, evaluation, seed, table, is_member, rng.normal(is_member).astype(np.float32), model)
        for tap in sorted(taps)
        for model, evaluation in (
            (AUDITED, "unseen_database"),
            (UNTRAINED, "unseen_database"),
            (AUDITED, "same_database"),
        )
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def all_scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of which only the scores.csv files are left."""
    out = tmp_path_factory.mktemp("scores")
    wanted: dict[paper_runs.PaperRun, set[str]] = {}
    for key in paper_tables.KEYS:
        for source in paper_tables.all_sources(key, paper_tables.LAB, MODELS):
            wanted.setdefault(paper_runs.run_of(source), set()).add(source.tap)
    rng = np.random.default_rng(1)
    for run, taps in wanted.items():
        (out / "runs" / run.name).mkdir(parents=True)
        score_files.write_scores(out / "runs" / run.name / formats.SCORES, made_up_scores(run, taps, rng))
    return out


@pytest.fixture
def scores_only(all_scores: Path, tmp_path: Path) -> Path:
    return shutil.copytree(all_scores, tmp_path / "scores")


@pytest.fixture(scope="module")
def everything(all_scores: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All tables and the figure, and what the command said."""
    out = shutil.copytree(all_scores, tmp_path_factory.mktemp("all") / "scores")
    return out, make_tables(MakeTables(out, all=True, num_seeds=2, rebuild=True, quiet=True, **PICTURES)).text


def test_tables_and_figure_from_scores_files_alone(everything: tuple[Path, str]) -> None:
    folder, text = everything
    for number in paper.TABLES:
        assert f"**Table {number}.**" in text
        lines = (folder / f"table_{number}.md").read_text().splitlines()
        for name, entries in paper.TABLES[number].cells.items():
            line = next(
                line for line in (folder / f"table_{number}.md").read_text().splitlines() if f"| {name} " in line
            )
            published = [f"({value:.2f})" for entry in entries for value in entry]
            assert [word.rstrip(",") for word in line.split() if word.startswith("(0.")] == published
    for ending in ("png", "svg"):
        assert (folder / f"figure_5.{ending}").stat().st_size > 10_000
    assert r"\pm" in (folder / "table_1.tex").read_text()
    assert "**Table of poolings.**" in text
    lines = (folder / "table_poolings.md").read_text().splitlines()
    assert [line.split()[1] for line in lines[4:8]] == ["max", "mean", "std", "topk"]


def test_shrinking_to_the_native_resolution_is_a_row_where_it_changes_something(scores_only: Path) -> None:
    make_tables(MakeTables(scores_only, table=(8, 9), rebuild=True, quiet=True, **PICTURES))
    by_row = {path: (scores_only / path).read_text() for path in ("table_8.md", "table_9.md")}
    assert "shrunk to 32 first" not in by_row["table_8.md"]
    rows = [line.split()[5] for line in by_row["table_9.md"].splitlines() if "shrunk to 32 first" in line]
    assert rows == ["64x64", "128x128"]


def test_all_without_pictures_says_what_it_leaves_out(scores_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_files, "write_figure", lambda *_: [])
    text = make_tables(MakeTables(scores_only, all=True, rebuild=True, quiet=True)).text
    assert "Tables 8 and 9 are left out" in text
    assert not (scores_only / "table_8.md").exists()


def test_failed_trainings_are_named(scores_only: Path) -> None:
    folder = scores_only / "runs" / "fr3-baseline-100k-cnn-conv1"
    parts = score_files.read_scores(folder / formats.SCORES)
    dead = [dataclasses.replace(p, logit=np.zeros_like(p.logit)) if p.seed == 2 else p for p in parts]
    score_files.write_scores(folder / formats.SCORES, dead)
    text = make_tables(MakeTables(scores_only, table=(5,), rebuild=True, quiet=True)).text
    assert "the same score for everybody: fr3 cnn conv1 100k seed 2, fr3 cnn untrained conv1 100k seed 2." in text


def test_cells_are_the_figures_of_the_scores(scores_only: Path) -> None:
    make_tables(MakeTables(scores_only, table=(2,), rebuild=True, quiet=True))
    with open(scores_only / "table_2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3 * 2 * 3  # rows, models, cases, and the paper's rows with those of two controls
    cell = next(
        r for r in rows if (r["row"], r["control"], r["model"], r["source"]) == ("Model Outcome", "", "fr2", "2")
    )
    assert float(cell["published"]) == 0.79
    parts = score_files.read_scores(scores_only / "runs" / "fr2-b-100k-vanilla" / formats.SCORES)
    key = ("vanilla", AUDITED, "outcome", "unseen_database")
    chosen = [p for p in parts if (p.scorer, p.model, p.tap, p.evaluation) == key]
    for name, function in (("accuracy", metrics.accuracy), ("auc", metrics.auc)):
        assert float(cell[name]) == pytest.approx(np.mean([function(p.is_member, p.logit) for p in chosen]), abs=1e-6)
        assert float(cell[f"{name}_low"]) <= float(cell[name]) <= float(cell[f"{name}_high"])
    assert cell["num_seeds"] == "2"


@pytest.mark.slow
def test_same_scores_same_bytes(everything: tuple[Path, str], scores_only: Path) -> None:
    make_tables(MakeTables(scores_only, table=(6,), figure=(5,), num_seeds=2, rebuild=True, quiet=True))
    made = {path.name: path.read_bytes() for path in scores_only.glob("*_*.*")}
    assert made == {name: (everything[0] / name).read_bytes() for name in made}
    assert {"table_6.md", "table_6.csv", "table_6.tex", "figure_5.png", "figure_5.svg"} <= set(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "received none"),
        ({"table": (12,)}, r"received \[12\]"),
        ({"figure": (4,)}, r"received \[4\]"),
        ({"table": (1,), "rebuild": True}, "fr1-baseline-100k-vanilla"),
        ({"table": (1,), "scale": "paper"}, "--audited NAME=FOLDER"),
        ({"table": (1,), "scale": "paper", "audited": ("fr1=models/fr1",)}, "--protocol"),
        ({"table": (1,), "protocol": Path("here")}, "--protocol"),
        ({"table": (8,)}, "--pictures"),
        ({"table": (9,), "pictures": "cifar"}, "together"),
        ({"table": (1,), "num_seeds": 0, "rebuild": True}, "received --num-seeds 0"),
    ],
)
def test_what_cannot_be_made(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        make_tables(MakeTables(tmp_path / "out", quiet=True, **options))


def test_a_missing_protocol_is_named_with_its_command(audited_folder: Path, tmp_path: Path) -> None:
    config = MakeTables(
        tmp_path / "out", table=(1,), scale="paper", audited=(f"fr1={audited_folder}",), protocol=tmp_path / "protocols"
    )
    with pytest.raises(InputError, match=r"make_protocol.py --case baseline --size 100k .* --out .*fr1/baseline-100k"):
        make_tables(config)


@pytest.mark.long
def test_small_table_is_run_planned_and_reused_in_the_lab_and_at_the_papers_scale(
    audited_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_runs, "LAB_SIZES", {"100k": 70, "50k": 66, "1k": 64})
    monkeypatch.setattr(paper_runs, "LAB_TEST", 30)
    monkeypatch.setattr("mint_keras.heads.vanilla.EPOCHS", 2)
    config = MakeTables(
        tmp_path / "out", table=(3,), audited=(f"fr1={audited_folder}",), num_seeds=1, quiet=True, plan=True
    )
    plan = make_tables(config).text
    assert plan.count("to do") == 3
    assert "GFLOP" in plan
    text = make_tables(dataclasses.replace(config, plan=False)).text
    assert "familiar: 100K" in text
    assert "untrained copy: 1K" in text
    assert make_tables(config).text.count("finished") == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("scores.csv")}
    assert make_tables(dataclasses.replace(config, plan=False)).text == text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("scores.csv")} == before
    with pytest.raises(RefusedError, match="made from other inputs"):
        make_tables(dataclasses.replace(config, num_seeds=2))
    made = tmp_path / "out" / "protocols"
    full = dataclasses.replace(config, out=tmp_path / "full", scale="paper", protocol=made)
    assert make_tables(full).text.count("to do") == 3
    shutil.copytree(tmp_path / "out" / "runs", full.out / "runs")  # of the same protocols, so the same runs
    assert make_tables(full).text.count("finished") == 3
    assert (
        make_tables(dataclasses.replace(full, plan=False)).text.replace("Full size", "Lab: drawn faces, small models")
        == text
    )
