"""What an audit chooses from a run, and the chosen scorer as it is."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats, score_files
from mint_keras.audited import iresnet, zoo
from mint_keras.auditing import controls, plus
from mint_keras.auditing import look as looks
from mint_keras.auditing.opened import AuditSpec, Opened, open_audit, open_scorer, recipe_of
from mint_keras.commands.audit import Audit, audit
from mint_keras.data import images, protocol
from mint_keras.records import AUDITED, InputError, Observations, SampleTable, Scores
from mint_keras.runs.run import Run, heads_of, reopen
from mint_keras.scorers import log_odds
from mint_keras.scorers.contract import Scorer
from mint_keras.statistics import division, metrics
from mint_keras.statistics.selection import Candidate

pytestmark = pytest.mark.usefixtures("loaded_once", "filled_to_eight")


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return reopen(run_folder)


@pytest.fixture(scope="module")
def opened(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "_SHELF", ("dlib", "lab3"))  # one that knows photos, and one that knows drawn faces
        return open_audit(AuditSpec(run.folder), run, tmp_path_factory.mktemp("audit"))


def test_the_best_on_people_who_are_not_reported_on_is_chosen(opened: Opened) -> None:
    areas = {}
    for tap in ("conv1", "conv4", "combination"):
        (part,) = Candidate("vanilla", tap).parts(opened.scores, protocol.SAME_DATABASE)
        (choosing,) = opened.division.choosing([part])
        assert choosing.is_member is not None
        areas[tap] = metrics.auc(choosing.is_member, choosing.logit)
    assert opened.scorer == Candidate("vanilla", max(areas, key=areas.__getitem__))
    assert opened.has_reference
    assert opened.recipe == heads_of(opened.run.spec)[opened.scorer.tap]


def test_recipes_of_heads_and_baselines(run: Run) -> None:
    head = recipe_of(run, Candidate("vanilla", "combination"))
    assert (head.name, head.tap, head.needs.taps) == ("vanilla", "combination", ("conv1", "conv4"))
    baseline = recipe_of(run, Candidate("max_pool_lr", "conv4"))
    assert (baseline.name, baseline.tap, baseline.needs.taps) == ("max_pool_lr", "conv4", ("conv4",))
    norm = recipe_of(run, Candidate("embedding_norm", "outcome"))
    assert (norm.name, norm.tap, norm.needs.signals) == ("embedding_norm", "outcome", ())


def test_the_scorer_as_it_is_gives_the_runs_own_scores(run: Run, run_folder: Path) -> None:
    scorer = Candidate("vanilla", "combination")
    (part,) = scorer.parts(score_files.read_scores(run_folder / formats.SCORES), protocol.SAME_DATABASE)
    table = run.protocol.table.take(run.protocol.evaluations()[protocol.SAME_DATABASE].rows)
    faces = images.read_faces(table, run.spec.framing)[1]
    logit = open_scorer(run, scorer)(Observations(table, {images.PIXELS: faces}))
    np.testing.assert_allclose(logit, part.logit, atol=1e-4)


def test_a_baseline_as_it_is_looks_at_faces(run: Run) -> None:
    rows = run.protocol.evaluations()[protocol.SAME_DATABASE].rows
    table = run.protocol.table.take(rows)
    faces = images.read_faces(table, run.spec.framing)[1]
    scorer = Candidate("max_pool_lr", "conv4")
    logit = open_scorer(run, scorer)(Observations(table, {images.PIXELS: faces}))
    train, is_member = run.protocol.training_rows()
    seen = run.aad.seen(AUDITED)
    expected = recipe_of(run, scorer).fit(seen.take(train), is_member)(seen.take(rows))
    np.testing.assert_allclose(logit, expected, atol=1e-3)


def test_everybody_of_the_reference_is_reported_on_by_what_is_cross_fitted(run: Run, opened: Opened) -> None:
    """Also those who trained heads or chose one: nobody is scored by what was fitted on them (`contract.cross_fit`)."""
    protocol_ = opened.run.protocol
    rows, is_member = division.of_reference(protocol_)
    people = protocol_.table.people()
    members = np.isin(protocol_.part, (protocol.TRAIN_MEMBERS, protocol.TEST_MEMBERS))
    assert set(rows[is_member]) == set(np.flatnonzero(members))
    assert set(rows[~is_member]) == set(np.flatnonzero(protocol_.part == protocol.HELD_OUT))
    assert not set(people[rows[is_member]]) & set(people[rows[~is_member]])
    assert set(opened.division.validation) <= set(people[rows])
    assert set(np.unique(protocol_.table.database[rows])) == {"web"}
    same = dataclasses.replace(protocol_, main_evaluation=protocol.SAME_DATABASE)
    others = division.of_reference(same).rows
    assert set(protocol_.part[others]) <= {0, 1, 2, 3}  # held-out people play no part of such a protocol


def test_a_look_network_says_who_is_who(run: Run, opened: Opened) -> None:
    """Of the shelf's networks one of the lab's knows drawn faces, and is not the audited one."""
    assert opened.knows_looks
    assert opened.look is not None
    assert opened.look.name == "lab3"
    assert opened.look.competence.is_competent
    assert opened.said[0].startswith(f"Look network {opened.look.name}: The network tells people apart: AUC 0.99")
    assert opened.said[1].startswith("Audited network: The network does not tell people apart well enough")
    expected, left_out = looks.regroup(run.protocol, opened.look.groups)
    np.testing.assert_array_equal(opened.run.protocol.table.people(), expected.table.people())
    np.testing.assert_array_equal(opened.run.protocol.part, expected.part)
    assert opened.said[-1:] == left_out or not left_out
    names = set(expected.table.sample_id[expected.part >= 0])
    for part in opened.scores:
        assert set(part.samples.sample_id) <= names


def test_a_foreign_model_without_the_scorers_tap_shows_at_once(run: Run, audited_folder: Path) -> None:
    controls.check(heads_of(run.spec)["combination"], audited_folder, ["outcome"])
    with pytest.raises(InputError, match="conv9"):
        controls.check(heads_of(run.spec)["conv4"], audited_folder, ["conv9"])


@pytest.mark.slow
def test_a_control_through_the_audited_model_itself_finds_the_same(run: Run, opened: Opened) -> None:
    """The same recipe, AAD of its own: what differs between a scorer and its control is the model alone."""
    found = controls.through(opened, run.spec.audited, "itself")
    for name in opened.run.protocol.evaluations():
        (part,), (own,) = opened.scorer.parts(found, name), opened.scorer.parts(opened.scores, name)
        # Whoever is left out is missed in both, and changes nothing else of the run's evaluations.
        np.testing.assert_array_equal(part.samples.sample_id, own.samples.sample_id)
        np.testing.assert_allclose(part.logit, own.logit, atol=2e-2)
    path = opened.folder / controls.FOLDER / "itself" / formats.SCORES
    kept = path.read_bytes()
    again = controls.through(opened, run.spec.audited, "itself")
    assert path.read_bytes() == kept
    np.testing.assert_array_equal(again[0].logit, found[0].logit)


@pytest.mark.slow
def test_mint_plus_through_a_network_of_another_size_sees_faces_of_that_size(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with formats.output_folder(folder, formats.make_manifest(zoo.KIND, {}, {"resolution": 48})):
        zoo.save_audited(folder, iresnet.build("tiny", 48), {})
    found = plus.score(opened, plus.plan(opened), "foreign_small", folder)
    assert found
    assert all(np.isfinite(part.logit).all() for part in found.values())


def test_a_reference_is_asked_once_whatever_is_looked_at_beside_it(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit that asked seven shadows again for every control took hours."""
    spec = dataclasses.replace(opened.spec, reference=(Path("lab2"), Path("lab3")))
    beside = dataclasses.replace(opened, spec=spec, folder=tmp_path)
    tasks = plus.plan(beside)
    asked, shown = [], []

    def embed(path: Path, table: SampleTable, *_: object) -> Observations:
        asked.append(path.name)
        names = np.array([int(hashlib.sha256(one.encode()).hexdigest()[:6], 16) for one in table.sample_id])
        return Observations(table, {"outcome": np.outer(names, [1, 2]).astype(np.float32)})

    def cross_fit(_: Scorer, seen: Observations, *__: object) -> Scores:
        shown.append(seen)
        return opened.scores[0]

    monkeypatch.setattr(looks, "embed", embed)
    monkeypatch.setattr(looks, "embedder", lambda *_: None)
    monkeypatch.setattr(plus.views, "face_function", lambda *_, **__: None)
    monkeypatch.setattr(plus, "observe", lambda table, *_: embed(Path("audited"), table))
    monkeypatch.setattr(plus, "cross_fit", cross_fit)
    for name, folder in {AUDITED: opened.run.spec.audited, "reference_lab2": Path("lab2")}.items():
        plus.score(beside, tasks, name, folder)
    unfitted = dataclasses.replace(tasks.tasks[0], level=log_odds.NAME)
    plus.open_scorer(beside, tasks, unfitted, unfitted.photos.where(np.arange(len(unfitted.photos.rows)) % 2 == 0))
    assert sorted(asked) == ["audited", "audited", "lab2", "lab3"]
    assert len(shown) == 2 * len(tasks.tasks) - 1  # only the audited model is asked for a direction
    for seen in shown:
        for values in seen.arrays.values():  # each row is of its own photo
            np.testing.assert_array_equal(values, embed(Path(), seen.table)["outcome"])


@pytest.mark.parametrize(
    "wrong",
    [{"prevalence": 1.5}, {"prevalence": -0.1}, {"prevalence": float("nan")}, {"seed": -1}, {"num_untrained": -1}],
)
def test_numbers_are_refused_before_anything_is_read(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
        audit(Audit(tmp_path / "no such run", tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()
