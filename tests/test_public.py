"""What a public project has beside its code: presets, notebooks, a citation, cards, completion, an API page."""

import re
from pathlib import Path

import pytest
import yaml

import mint_keras
from mint_keras import cli, options
from mint_keras.commands import make_tables, score, train_mint

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CARDS = sorted(path for path in (ROOT / "mint_keras" / "shelf").rglob("card.md"))


def preset(kind: type, name: str, *words: str) -> object:
    return options.parse(kind, "", ["--config", str(ROOT / "configs" / name), *words])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_begins_with_its_command_its_time_and_what_to_expect(path: Path) -> None:
    head = "".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
    assert f"--config configs/{path.name}" in head
    assert re.search(r"Time: .*\d", head)
    assert "Expected" in head


def test_the_laptops_preset_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = score.score(preset(score.Score, "laptop.yaml", "--out", str(tmp_path / "scores"), "--quiet"))
    assert len(found.photos.faces) == found.photos.num_photos == 8
    assert all(face.p_value is None for face in found.photos.faces)


@pytest.mark.long
def test_the_researchers_preset_makes_table_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = preset(make_tables.MakeTables, "paper-table1.yaml", "--out", str(tmp_path), "--plan")
    assert config.keys() == (1,)
    assert "fr3" in make_tables.make_tables(config).text


@pytest.mark.long
def test_the_auditors_preset_makes_a_run_that_an_audit_can_decide(audited_folder: Path, tmp_path: Path) -> None:
    small = [
        "--num-train",
        "70",
        "--num-test",
        "20",
        "--taps",
        "conv4",
        "outcome",
        "--quiet",
        "--out",
        str(tmp_path / "run"),
    ]
    own = ["--audited", str(audited_folder), "--members", str(audited_folder / "members.parquet")]
    others = ["--held-out", str(audited_folder / "held_out.parquet"), "--externals", "synthetic:1/news/100-169/2"]
    config = preset(train_mint.TrainMint, "audit-own-model.yaml", *own, *others, *small)
    rows = train_mint.train_mint(config).results
    assert {"vanilla", "embedding_norm", "stability"} <= {row.scorer for row in rows}
    assert "same_database" in {row.evaluation for row in rows}


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "type", "license"} <= set(cited)
    assert str(cited["version"]) == mint_keras.__version__
    assert all({"family-names", "given-names"} <= set(one) for one in cited["references"][0]["authors"])


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_cards_begin_as_the_hugging_face_hub_reads_them(path: Path) -> None:
    _, head, text = path.read_text().split("---\n", 2)
    head = yaml.safe_load(head)
    assert {"library_name", "license", "tags"} <= set(head)
    assert "mint_keras" in head["tags"]
    assert text.lstrip().startswith("# ")


def test_workflows_and_templates_are_yaml() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert len(jobs["edge"]["strategy"]["matrix"]["system"]) == 3
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(path.read_text())


def test_every_public_name_is_on_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text().splitlines()
    contents = mint_keras._CONTENTS
    assert [name for name in dir(mint_keras) if f"::: mint_keras.{contents[name]}.{name}" not in page] == []


def test_the_shell_completes_commands_options_and_values(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("shtab")
    assert cli.main(["--completion", "bash"]) == cli.DONE
    text = capsys.readouterr().out
    assert "train-audited" in text
    assert "--num-seeds" in text
    assert cli.main(["--completion", "klingon"]) == cli.WRONG_USAGE


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_its_outputs(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(path, 4)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    said = [output for cell in cells for output in cell.outputs]
    assert not [output for output in said if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in said)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(path, 4)
    nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()


def test_there_are_three_notebooks() -> None:
    assert len(NOTEBOOKS) == 3
