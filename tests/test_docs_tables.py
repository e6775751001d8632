"""The tables in docs are rendered from the figures beside them: nothing is typed by hand."""

import collections
import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.data import protocol
from mint_keras.edge import parity
from mint_keras.records import AUDITED, ResultRow
from mint_keras.report import paper_tables, run_table, tables
from mint_keras.statistics import bounds, conformal
from mint_keras.statistics.intervals import Estimate
from studies import (
    bench_membership,
    benchmark,
    dead_heads,
    every_format,
    fer2013,
    main_job,
    measure_copies,
    measure_coverage,
    num_databases,
    paper_scale,
    results_index,
)
from studies.plus import report as plus_report
from studies.reliability import __main__ as reliability
from studies.worlds import as_met, drawing, strangers, summary

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "tables"
FILES = sorted(FOLDER.glob("table_*.csv"))
RUNS = sorted((ROOT / "docs" / "runs").glob("*.jsonl"))  # results.jsonl of the runs in docs/results
SWEEPS = sorted((ROOT / "docs" / "runs").glob("*sweep.json"))  # of export_tflite.py
AUDITS = sorted((ROOT / "docs" / "runs").glob("audit-*.json"))  # of audit.py
OVER_FITTING = {  # mint_plus.json of measure_plus.py on small models
    "8 photos, 20 epochs": "mini-20",
    "8 photos, 10 epochs": "mini-10",
    "8 photos, 5 epochs": "mini-5",
    "8 photos, half of them mirrored, 20 epochs": "mini-flips",
    "4 photos, 20 epochs": "mini-p4",
}
CONVERSIONS = {  # parity.json of convert_fr.py
    "MobileFaceNet (ONNX, opset 18)": "mobilefacenet",
    "SCRFD-500M, 640x640 (opset 11)": "scrfd_500m_bnkps",
    "SCRFD-2.5G, 640x640 (opset 11)": "scrfd_2.5g_bnkps",
    "R100, ONNX (opset 11)": "r100",
    "R100, `backbone.pth`": "r100-checkpoint",
    "R100, ONNX, and the other file": "r100-both",
}
PRECISIONS = {"lab model": "lab", "MobileFaceNet": "mobilefacenet"}  # precision.json of runs of train_mint.py
BENCHMARKS = sorted((ROOT / "docs" / "runs").glob("benchmark-*.json"))
Key = tuple[str, str]


def interval(estimate: dict) -> str:
    return str(Estimate(**estimate))


def pages() -> str:
    """The appendices of docs/results, and their first page."""
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "results").glob("*.md")))


def read_rows(path: Path) -> tuple[tuple[str, ...], list[paper_tables.Row]]:
    """Reads back what `paper_tables.to_csv` writes."""
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    models = tuple(dict.fromkeys(line["model"] for line in lines))
    num_sources = max(int(line["source"]) for line in lines)
    cells: dict[Key, dict[tuple[str, int], dict[str, Estimate]]] = {}
    published: dict[Key, dict[tuple[str, int], float]] = {}
    for line in lines:
        key, place = (line["row"], line["control"]), (line["model"], int(line["source"]))
        cells.setdefault(key, {})[place] = {
            name: Estimate(*(float(line[name + end]) for end in ("", "_low", "_high")), int(line["num_seeds"]))
            for name in ("accuracy", "auc", "tpr_at_1_fpr")
        }
        if line["published"]:
            published.setdefault(key, {})[place] = float(line["published"])
    places = [tuple((model, source) for source in range(1, num_sources + 1)) for model in models]
    rows = [
        paper_tables.Row(
            name, control,
            tuple(tuple(of_row.get(place) for place in column) for column in places),
            tuple(tuple(published[name, control][place] for place in column) for column in places)
            if (name, control) in published else None,
        )
        for (name, control), of_row in cells.items()
    ]  # fmt: skip
    return models, rows


def test_there_are_tables() -> None:
    assert FILES
    assert {path.stem for path in FILES} == {path.stem for path in FOLDER.glob("table_*.md")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_tables_are_rendered_from_their_figures(path: Path) -> None:
    name = path.stem.removeprefix("table_")
    key = int(name) if name.isdigit() else name
    models, rows = read_rows(path)
    text = path.with_suffix(".md").read_text()
    note = "Lab:" + text.splitlines()[0].partition("Lab:")[2]
    assert paper_tables.to_markdown(key, models, rows, note) == text
    expected = set(paper_tables.sources(key, paper_tables.LAB, models))
    assert {row.name for row in rows if not row.control} == expected
    assert {row.name for row in rows if row.control == "same database"} == expected
    assert {row.name for row in rows if row.control == "untrained copy"} == expected


def test_the_first_page_of_results_is_written_from_their_files() -> None:
    text = results_index.PAGE.read_text()
    assert results_index.written(text) == text
    headings = re.findall(r"^#+ (.*)$", pages(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for claim in results_index.CLAIMS:
        page, _, anchor = claim.page.partition("#")
        text = (results_index.PAGE.parent / page).read_text()
        assert claim.command.replace("studies.", "-m studies.") in text, claim.says
        assert not anchor or anchor in anchors, claim.page


def test_there_are_runs() -> None:
    assert {"lab-vanilla", "lab-literal", "lab-baselines"} <= {path.stem for path in RUNS}


def table_of_run(results: Sequence[ResultRow], head: str, main_evaluation: str) -> str:
    """The table of one training as it was printed until runs had several: accuracy, AUC and TPR at 1% FPR."""
    by_key: dict[tuple[str, str, str, str], list[ResultRow]] = {}
    for row in results:
        by_key.setdefault((row.scorer, row.model, row.evaluation, row.tap), []).append(row)
    table = [[head, *(name for name, _, _ in tables.columns(main_evaluation))]]
    kinds = list(dict.fromkeys((row.scorer, row.tap) for row in results if row.model == AUDITED))
    num_taps = collections.Counter(scorer for scorer, _ in kinds)
    for scorer, tap in kinds:
        cells = []
        for _, model, evaluation in tables.columns(main_evaluation):
            rows = by_key.get((scorer, model, evaluation, tap), [])
            names = ("accuracy", "auc", "tpr_at_1_fpr") if rows else ()
            cells.append(" ".join(f"{np.mean([getattr(row, name) for row in rows]):.3f}" for name in names) or "-")
        # The head's rows are named by their taps, as in the paper; a baseline names its tap where it looks at several.
        name = scorer.replace("_", " ") + (f", {tap}" if num_taps[scorer] > 1 else "")
        table.append([tap if scorer == head else name, *cells])
    return tables.format_table(table)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_tables_of_runs_are_rendered_from_their_results(path: Path) -> None:
    results = score_files.read_results(path)
    table = table_of_run(results, results[0].scorer, protocol.UNSEEN_DATABASE)
    assert f"\n{table}\n" in pages()


def test_the_figures_of_the_harness_are_rendered_from_their_counts() -> None:
    counts = formats.read_json(ROOT / "docs" / "runs" / "reliability.json")
    assert f"\n{reliability.table(counts)}\n" in (ROOT / "docs" / "reliability.md").read_text()


def test_the_readme_quotes_what_stands_in_the_results() -> None:
    """Figures of three digits, and counts such as "33 of 34"; those of the main job are in the table of the lab."""
    text = re.sub(r"\s*\|\s*", " | ", (ROOT / "README.md").read_text())
    shown = re.sub(r"\s*\|\s*", " | ", pages())
    quoted = re.findall(r"\b\d\.\d{3}\b|\[\d\.\d+, \d\.\d+\]|\b\d+ of \d{2,}\b", text)
    assert len(quoted) >= 8
    assert [figure for figure in quoted if figure not in shown] == []


def read_table(name: str) -> tuple[run_table.RunTable, dict]:
    """Reads back table.json of a run, with what it says."""
    content = formats.read_json(ROOT / "docs" / "runs" / f"{name}.json")
    rows = {of["row"]: {place: Estimate(**one) for place, one in of["figures"].items()} for of in content["rows"]}
    return run_table.RunTable(content["head"], rows, content["adjusted_p"]), content


def test_the_table_of_the_main_job_is_rendered_from_its_figures() -> None:
    table, content = read_table("lab-table")
    assert f"\n{run_table.render(table)}\n" in pages()
    outcome, text = run_table.conclude(table)
    assert outcome == content["outcome"] == run_table.TOLD_APART
    assert f"\n> {text}\n" in pages()


def test_where_the_time_of_the_main_job_goes_is_rendered_from_its_figures() -> None:
    assert f"\n{main_job.render(formats.read_json(ROOT / 'docs' / 'runs' / 'main-job.json'))}\n" in pages()


def test_how_far_trainings_differ_by_their_databases_is_rendered_from_the_tables() -> None:
    of = {"three": read_table("lab-table-three")[0].rows, "twelve": read_table("lab-table")[0].rows}
    columns = (run_table.AUC, run_table.UNTRAINED_COPY, run_table.FAMILIAR)
    rows = [["half of the interval", *(f"{column}, {num}" for column in columns for num in of)]]
    heads = ("conv1", "conv2", "conv3", "conv4", "combination", "combination+outcome", "outcome")
    half = {(head, column, num): of[num][head][column].half_width for head in heads for column in columns for num in of}
    rows += [[head, *(f"{half[head, column, num]:.2f}" for column in columns for num in of)] for head in heads]
    assert f"\n{tables.format_table(rows)}\n" in pages(), tables.format_table(rows)
    narrow = {num: sum(width < 0.1 for (_, _, of_num), width in half.items() if of_num == num) for num in of}
    assert f"{narrow['three']} of 21 cells are narrower than .10 either way, with twelve {narrow['twelve']}" in pages()


def test_there_are_sweeps() -> None:
    assert {"lab-sweep", "lab-cnn-3-sweep"} <= {path.stem for path in SWEEPS}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_tables_of_sweeps_are_rendered_from_their_results(path: Path) -> None:
    sweep = formats.read_json(path)
    table, _, _ = parity.table(sweep["artefacts"], sweep["recommended"]).partition("\n\n")
    assert f"\n{table}\n" in pages()


def audit_table(verdicts: dict) -> str:
    """What an audit measured: AUC with its interval, a row for a control, a column for a scorer."""
    names = dict.fromkeys(one["name"] for decided in verdicts.values() for one in decided["findings"])
    rows = [["", *verdicts]]
    for name in names:
        found = ([one["auc"] for one in of["findings"] if one["name"] == name] for of in verdicts.values())
        rows.append([name.replace("_", " "), *(", ".join(map(interval, aucs)) for aucs in found)])
    return tables.format_table([*rows, ["verdict", *(decided["outcome"] for decided in verdicts.values())]])


def changes_table(rows: list[dict]) -> str:
    """How scorers do on changed photos: AUC with its interval, false positives, true positives."""
    by_place = {(row["change"], row["scorer"]): row for row in rows}
    scorers = list(dict.fromkeys(scorer for _, scorer in by_place))
    table = [["photos", *scorers]]
    for change in dict.fromkeys(change for change, _ in by_place):
        found = [by_place[change, scorer] for scorer in scorers]
        cells = [f"{interval(o['auc'])}, {o['false_positives']:.3f}, {o['true_positives']:.3f}" for o in found]
        table.append([change, *cells])
    return tables.format_table(table)


@pytest.mark.parametrize("path", AUDITS, ids=lambda path: path.stem)
def test_tables_of_audits_are_rendered_from_their_results(path: Path) -> None:
    content = formats.read_json(path)
    rows = content["robustness"]["rows"]
    made = [audit_table(content["verdicts"]), *([changes_table(rows)] if rows else [])]
    for table in made:
        assert f"\n{table}\n" in pages()


def test_the_table_of_worlds_by_command_has_the_figures_of_their_pages() -> None:
    rows = [["world", "expected", "verdict", "reference", "raw MINT: head, AUC"]]
    for world in drawing.KINDS:
        content = formats.read_json(ROOT / "docs" / "runs" / f"world-{world}.json")
        verdicts = content["verdicts"]
        scorer, head = next((name, one) for name, one in verdicts.items() if name.startswith("vanilla on "))
        raw = next(interval(one["auc"]) for one in head["findings"] if one["role"] == "claim")
        of_photo = verdicts.get("mint plus on photo", {"findings": []})["findings"]
        reference = next((interval(one["auc"]) for one in of_photo if one["role"] == "reference"), "none")
        rows.append(
            [
                world,
                as_met.expected(world),
                content["outcome"],
                reference,
                f"{scorer.removeprefix('vanilla on ')}, {raw}",
            ]
        )
    assert f"\n{tables.format_table(rows)}\n" in pages()


def test_the_validation_is_rendered_from_its_pages() -> None:
    content = formats.read_json(ROOT / "docs" / "runs" / "validation.json")
    text = summary.render(content).partition("\n\n")[2]
    assert f"\n\n{text}\n" in pages()


def test_the_strangers_are_rendered_from_their_pages() -> None:
    table = strangers.render(formats.read_json(ROOT / "docs" / "runs" / "strangers.json"))
    assert f"\n{table}\n" in pages()


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_are_rendered_from_their_results(path: Path) -> None:
    table = benchmark.render(formats.read_json(path)["measurements"])
    assert f"\n{table}\n" in pages()


def test_the_table_of_conversions_has_the_figures_of_their_pages() -> None:
    rows = [["model", "against", "taps", "relative error, largest", "cosine, smallest"]]
    for label, name in CONVERSIONS.items():
        records = formats.read_json(ROOT / "docs" / "runs" / f"parity-{name}.json")["records"]
        for oracle in dict.fromkeys(record["oracle"] for record in records):
            found = [record for record in records if record["oracle"] == oracle]
            taps = dict.fromkeys(record["tap"] for record in found)
            worst, least = max(one["relative"] for one in found), min(one["cosine"] for one in found)
            rows.append([label, oracle, ", ".join(taps), f"{worst:.1e}", f"{least:.8f}"])
    assert f"\n{tables.format_table(rows)}\n" in pages()


def test_the_table_of_precisions_has_the_figures_of_their_runs() -> None:
    names = ("mixed_bfloat16", "mixed_float16")
    rows = [["model", *names]]
    for label, model in PRECISIONS.items():
        cells = []
        for name in names:
            cost = formats.read_json(ROOT / "docs" / "runs" / f"precision-{model}-{name}.json")
            tap = min(cost["cosine"], key=cost["cosine"].get)
            cells.append(f"{cost['speedup']:.2f} x, {cost['cosine'][tap]:.6f} ({tap})")
        rows.append([label, *cells])
    assert f"\n{tables.format_table(rows)}\n" in pages()


def test_the_tables_of_planted_copies_have_the_figures_of_the_search() -> None:
    assert f"\n{measure_copies.render(formats.read_json(ROOT / 'docs' / 'runs' / 'overlap-lfw.json'))}\n" in pages()


def test_the_table_of_p_values_has_the_figures_of_the_bundles() -> None:
    rows = [["head", "accused", "of people", "95% interval", "p-values"]]
    for tap, found in formats.read_json(ROOT / "docs" / "runs" / "bundles.json").items():
        validity = conformal.Validity(**found)
        given = "given" if validity.is_valid else "no"
        between = f"{validity.low:.3f} to {validity.high:.3f}"
        rows.append([tap, str(validity.num_accused), str(validity.num_people), between, given])
    assert f"\n{tables.format_table(rows)}\n" in pages()


def test_the_coverage_of_cross_fitted_scores_is_rendered_from_its_pages() -> None:
    table = measure_coverage.render(formats.read_json(ROOT / "docs" / "runs" / "coverage-folds.json"))
    assert f"\n{table}\n" in (ROOT / "docs" / "method.md").read_text()


def test_the_table_of_coverage_has_the_figures_of_its_pages() -> None:
    table = measure_coverage.render(formats.read_json(ROOT / "docs" / "runs" / "coverage.json"))
    assert f"\n{table}\n" in (ROOT / "docs" / "method.md").read_text()


def test_the_count_of_dead_heads_is_rendered_from_its_pages() -> None:
    table = dead_heads.render(formats.read_json(ROOT / "docs" / "runs" / "dead-heads.json"))
    assert f"\n{table}\n" in pages()


def test_how_many_databases_it_takes_is_rendered_from_its_pages() -> None:
    text = num_databases.render(formats.read_json(ROOT / "docs" / "runs" / "num-databases.json"))
    assert f"\n{text}\n" in pages()


@pytest.mark.parametrize("name", ["paper-scale", "paper-scale-small"])
def test_the_rehearsal_is_rendered_from_its_results(name: str) -> None:
    table = paper_scale.render(formats.read_json(ROOT / "docs" / "runs" / f"{name}.json"))
    assert f"\n{table}\n" in (ROOT / "docs" / "scaling.md").read_text()


def test_the_table_of_formats_is_rendered_from_its_results() -> None:
    table = every_format.render(formats.read_json(ROOT / "docs" / "runs" / "formats.json"))
    assert f"\n{table}\n" in pages()


def test_the_goal_worlds_are_rendered_from_their_pages() -> None:
    text = plus_report.render(formats.read_json(ROOT / "docs" / "runs" / "goal.json"))
    assert f"\n{text}" in pages()


def test_the_audit_of_the_emotion_network_is_rendered_from_its_pages() -> None:
    text = fer2013.render(formats.read_json(ROOT / "docs" / "runs" / "fer2013.json"))
    assert f"\n{text}\n" in pages()


@pytest.mark.parametrize("name", ["bench", "bench-3", "bench-30"])
def test_the_bench_of_attacks_is_rendered_from_its_pages(name: str) -> None:
    text = bench_membership.render(formats.read_json(ROOT / "docs" / "runs" / f"{name}.json"))
    assert f"\n{text}" in pages()


def test_the_table_of_over_fitting_has_the_figures_of_its_pages() -> None:
    columns = {
        "one photo": "identity_photo",
        "beside the person's others": "identity_with_others",
        "the person, all photos": "identity_person",
        "image: one photo": "image_photo",
        "image: beside others": "image_with_others",
        "nobody: one photo": "nobody_photo",
    }
    rows = [["trained on", *columns]]
    for label, name in OVER_FITTING.items():
        found = formats.read_json(ROOT / "docs" / "runs" / f"{name}.json")["mint_plus"]
        cells = [found[measure] for measure in columns.values()]
        rows.append([label, *map(interval, cells)])
    assert f"\n{tables.format_table(rows)}\n" in pages()


def test_who_is_who_has_the_figures_of_its_study() -> None:
    world, *_ = formats.read_json(ROOT / "docs" / "runs" / "identities.json")["worlds"]
    found, planted, flat = world["inspected"], world["planted"], world["flat"]
    text = " ".join((ROOT / "docs" / "databases.md").read_text().split())
    for num, of, between in (
        (found["num_found"], planted["num_split"], "of the split were found"),
        (found["num_told"], planted["num_hidden"], "shared names"),
        (found["num_falsely_told"], found["num_others"], "other names were said to be of several people"),
        (found["num_false"], found["num_names"], "were merged with another's"),
    ):
        assert f"{num:,} of {of:,} {between} ({bounds.exact_interval(num, of)})" in text
    assert f"fell into {flat['num_groups']:,} groups, {flat['num_of_one']:,} of them of one person" in text
