"""The Python door: what a user types, in memory."""

import contextlib
import dataclasses
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import mint_keras as mint
from mint_keras.aad import views
from mint_keras.api import auditing
from mint_keras.auditing.look import as_reference
from mint_keras.data.people import are_unknown
from mint_keras.heads import specs
from mint_keras.records import InputError
from mint_keras.scorers import blind
from mint_keras.scorers.head import FittedHead
from mint_keras.scorers.look import Look
from mint_keras.statistics import findings, verdict

pytestmark = pytest.mark.usefixtures("loaded_once", "filled_to_eight")

ROOT = Path(__file__).resolve().parents[1]
LAYERS = keras.layers


def test_the_door_is_a_table_of_contents_and_loads_nothing() -> None:
    names = {"load_model", "convert", "samples", "observe", "Head", "MintPlus", "audit", "untrained", "pixels", "look"}
    assert names <= set(dir(mint))
    assert len((ROOT / "mint_keras" / "__init__.py").read_text().splitlines()) <= 60
    program = (
        "import sys, mint_keras as mint\nassert dir(mint)\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'cv2', 'scipy', 'sklearn', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert mint.Observations\n"
        "try:\n    mint.nothing\nexcept AttributeError:\n    pass\nelse:\n    raise AssertionError\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="class")
def lab(audited_folder: Path, few_views: None) -> tuple[mint.AuditedModel, mint.Observations, np.ndarray]:
    """Members of a tiny lab model, other people of their database, and what the model gives for half of the photos."""
    model = mint.load_model(audited_folder)
    members = mint.samples(audited_folder / "members.parquet")
    faces = mint.samples(audited_folder / "members.parquet", audited_folder / "held_out.parquet")
    seen = mint.observe(model, faces.take(np.flatnonzero(np.arange(len(faces)) % 8 < 4)))
    return model, seen, np.isin(seen.people(), members.people())


@pytest.mark.long
def test_evidence_on_the_lab_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thirds of the lab: members are found, and every control is beaten."""
    monkeypatch.setattr(blind, "MIN_STEPS", 60)
    model, shelf = mint.load_model("lab"), ROOT / "mint_keras" / "shelf" / "lab"
    faces = mint.samples(shelf / "members.parquet", shelf / "held_out.parquet")
    photo, person = np.arange(len(faces)) % 10, np.arange(len(faces)) // 10
    faces = faces.take(np.flatnonzero((photo < 2) & (person % 3 < 2)))
    seen = mint.observe(model, faces)
    is_member = np.isin(seen.people(), mint.samples(shelf / "members.parquet").people())
    known = mint.split_calibration(seen.people(), is_member, seed=1)
    scorer = mint.MintPlus().fit(seen[known], is_member[known])
    controls = [mint.untrained(model, 1), mint.pixels(), mint.look(mint.load_model("lab2"))]
    found = mint.audit(scorer, seen[~known], is_member[~known], controls=controls)
    assert found.outcome == verdict.EVIDENCE, found
    by_role = {one.role: one for one in found.findings}
    assert by_role["reference"].auc.value > 0.8
    assert by_role["direction"].auc.low > 0.5
    without = mint.audit(scorer, seen[~known], is_member[~known])
    assert without.outcome == verdict.CANNOT_DECIDE
    assert "look control" in without.headline
    exchanged = mint.MintPlus().fit(seen[known], ~is_member[known])
    found = mint.audit(exchanged, seen[~known], ~is_member[~known])
    assert found.outcome == verdict.CANNOT_DECIDE
    assert "the other side looks used" in found.headline


def test_two_folders_of_one_name_are_a_question(tmp_path: Path) -> None:
    for place in ("ours", "theirs"):
        (tmp_path / place / "faces" / place).mkdir(parents=True)
        (tmp_path / place / "faces" / place / "1.png").write_bytes(b"a photo")
    both = [tmp_path / place / "faces" for place in ("ours", "theirs")]
    with pytest.raises(mint.InputError, match="both called faces"):
        mint.samples(*both)
    assert set(mint.samples(*both, database="web").table.database) == {"web"}


@pytest.mark.usefixtures("few_views")
class TestSevenLines:
    @pytest.mark.long
    def test_on_the_lab(
        self, lab: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        monkeypatch.chdir(tmp_path)
        # What pixels show does not matter here: as many epochs as usual would take twenty seconds.
        monkeypatch.setattr(blind, "MIN_EPOCHS", 2)
        monkeypatch.setattr(blind, "MIN_STEPS", 2)
        model, seen, is_member = lab
        assert 0 < is_member.sum() < len(seen)
        known = mint.split_calibration(seen.people(), is_member, seed=1, fraction=0.8)  # 64 photos a side
        head = mint.Head("vanilla", taps=["conv1"]).fit(seen[known], is_member[known])
        result = head.evaluate(seen[~known], is_member[~known])
        assert 0 <= result.accuracy <= 1
        assert result.num_members + result.num_externals == (~known).sum()
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        controls = [mint.untrained(model, 1), mint.pixels()]
        found = mint.audit(scorer, seen[~known], is_member[~known], controls=controls)
        assert found.outcome == verdict.CANNOT_DECIDE  # too few people for more
        assert "too few identities" in found.headline
        assert {one.role for one in found.findings} >= {"reference", "untrained", "blind", "direction"}
        assert not list(tmp_path.iterdir()), "in memory means in memory"
        assert capsys.readouterr().out == ""

    def test_a_network_that_is_opened_twice_keeps_to_one_engine(self, lab: tuple, audited_folder: Path) -> None:
        assert lab[0]._engine
        assert mint.load_model(audited_folder)._engine is lab[0]._engine

    @pytest.mark.slow
    def test_faces_of_another_size_are_shown_to_untrained_copies(self, lab: tuple) -> None:
        model, faces = lab[0], np.random.default_rng(1).integers(0, 255, (64, 48, 48, 3), np.uint8)
        fitted = types.SimpleNamespace(
            calibration=types.SimpleNamespace(samples=mint.samples(faces), seed=1), recipe=mint.MintPlus()
        )
        (look, recipes), *_ = mint.untrained(model, 1)(fitted)
        assert list(recipes) == ["untrained_1"]
        assert len(look(mint.samples(faces[:8]))["outcome"]) == 8

    def test_results_show_themselves(self, lab: tuple) -> None:
        _, seen, is_member = lab
        known = mint.split_calibration(seen.people(), is_member, seed=1)
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        found = mint.audit(scorer, seen[~known], is_member[~known])
        assert "Cannot decide" in found._repr_html_()
        head = FittedHead(mint.Head(taps=["conv1"]), lab[0].network, 1)
        assert repr(head).startswith("FittedHead(recipe=Head(name='vanilla', taps=('conv1',)")
        assert repr(lab[0]).startswith(f"AuditedModel(name='{lab[0].name}', taps=('conv1'")
        assert max(map(len, map(repr, (head, lab[0], scorer)))) < 300
        assert found.to_dict()["outcome"] == found.outcome
        frame = pytest.importorskip("pandas") and found.to_frame()
        assert list(frame.columns) == ["finding", "role", "auc", "low", "high"]
        assert len(frame) == len(found.findings)

    def test_a_control_is_needed_for_evidence(self) -> None:
        """Embeddings of members are longer, by a lot, and people are many: only the controls are missing."""
        is_member = np.arange(320) % 4 < 2
        length = np.where(is_member, 3.0, 1.0)[:, None]
        seen = mint.samples("synthetic:1/web/0-159/2")
        seen = seen.adding(outcome=length * np.random.default_rng(1).normal(size=(320, 64)))
        known = np.arange(320) < 120
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
        found = mint.audit(scorer, seen[~known], is_member[~known])
        assert found.findings[0].auc.value > 0.99
        assert found.outcome == verdict.CANNOT_DECIDE
        assert "None was given (mint_keras.look)." in found.text()
        assert {one.role for one in found.findings} == {"reference", "null", "direction"}
        swapped = is_member[~known].copy()
        swapped[0] = ~swapped[0]  # one of a person's two photos
        with pytest.raises(mint.InputError, match="each on one side, received 1"):
            mint.audit(scorer, seen[~known], swapped)

    def test_no_control_takes_the_place_of_another(self) -> None:
        """Two networks in folders of one name: the one that sees nothing would hide the one that sees."""
        seen, is_member = mint.samples("synthetic:1/web/0-39/2"), np.arange(80) % 4 < 2
        seen = seen.adding(outcome=np.random.default_rng(1).normal(size=(80, 8)))
        known = np.arange(80) < 40
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])

        def foreign(scorer: auditing.FittedScorer) -> auditing.Attempts:
            yield (lambda shown: shown), {"foreign_model": [scorer.recipe]}

        with pytest.raises(mint.InputError, match="different names, received foreign_model twice"):
            mint.audit(scorer, seen[~known], is_member[~known], [foreign, foreign])

    def test_untrained_copies_are_of_the_audited_network(self) -> None:
        """Copies of a network that sees less are too easily beaten."""
        seen, is_member = mint.samples("synthetic:1/web/0-39/2"), np.arange(80) % 4 < 2
        seen = seen.adding(outcome=np.random.default_rng(1).normal(size=(80, 8)))
        known = np.arange(80) < 40
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])

        def of_another(scorer: auditing.FittedScorer) -> auditing.Attempts:
            look = np.random.default_rng(2).normal(size=(80, 4))
            yield (lambda shown: shown.adding(outcome=look[: len(shown)])), {"untrained_1": [scorer.recipe]}

        with pytest.raises(mint.InputError, match="copies of the audited model, received some with another outcome"):
            mint.audit(scorer, seen[~known], is_member[~known], [of_another])

    def test_every_reference_is_a_control(self) -> None:
        """Whoever was used is nearer to their other photos; a reference that knows the other side spoils it."""
        rng, is_member = np.random.default_rng(1), np.arange(320) % 4 < 2
        look = rng.normal(size=(160, 16)).repeat(2, axis=0)

        def network(known: np.ndarray) -> np.ndarray:
            return look + np.where(known, 0.3, 1.0)[:, None] * rng.normal(size=look.shape)

        seen = mint.samples("synthetic:1/web/0-159/2").adding(outcome=network(is_member))
        known = np.arange(320) < 120
        for known_to_reference, outcome in ((is_member & False, "is missing"), (~is_member, "beside the audited")):
            shown = seen.adding(reference_before=network(known_to_reference))
            scorer = mint.LogOdds().fit(shown[known], is_member[known])
            found = mint.audit(scorer, shown[~known], is_member[~known])
            assert found.findings[0].auc.low > 0.7
            assert "the scorer through reference before" in {one.name for one in found.findings}
            assert outcome in found.headline, found.headline

    def test_controls_stand_beside_all_that_a_reference_gives(self) -> None:
        rng, is_member = np.random.default_rng(1), np.arange(160) % 4 < 2

        def network() -> dict[str, np.ndarray]:
            steady = views.compare(rng.normal(size=(160, 8)), rng.normal(size=(len(views.VIEWS), 160, 8)))
            return {"outcome": rng.normal(size=(160, 8)), **steady}

        seen = mint.samples("synthetic:1/web/0-79/2").adding(**network())
        seen = seen.adding(**as_reference("reference_before", network()))
        shown = mint.Observations(seen.table, network())
        place = {name: row for row, name in enumerate(seen.table.sample_id.tolist())}

        def look(samples: mint.Observations) -> mint.Observations:
            return shown.take(np.array([place[name] for name in samples.table.sample_id.tolist()]))

        known = np.arange(160) < 80
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        assert "reference_views" in scorer.ingredients
        scorer = dataclasses.replace(scorer, recipe=dataclasses.replace(scorer.recipe, ingredients=scorer.ingredients))
        control = [lambda scorer: iter([(look, {"other": [scorer.recipe]})])]
        found = auditing._refitted(control, scorer, seen[~known], is_member[~known])
        ((name, _, logit, _),) = found
        assert name == "other"
        beside = {name: values for name, values in seen.arrays.items() if "reference" in name}
        full = shown.adding(**beside)
        expected = scorer.recipe.fit(full[known], is_member[known])(full[~known])
        np.testing.assert_array_equal(logit, expected)

    @pytest.mark.parametrize("num", [1, 2])
    def test_a_single_reference_is_shown_changed_faces_too(self, lab: tuple, num: int) -> None:
        model, seen, _ = lab
        references = [dataclasses.replace(model, name=f"model_{k}") for k in range(num)]
        few = mint.observe(model, mint.Observations(seen.table, {}).take(np.arange(4)), references=references)
        assert ("view_outcomes_reference_model_0" in few.arrays) == (num == 1)
        np.testing.assert_allclose(few["reference_model_0"], few["outcome"], atol=1e-4)
        if num == 1:
            np.testing.assert_allclose(few["view_cosines_reference_model_0"], few["view_cosines"], atol=1e-4)

    def test_what_looks_different_in_question_need_not_among_those_fitted_on(self) -> None:
        """The scorer was fitted on people who were divided by lot; who is claimed now are the older ones."""
        rng, is_member, known = np.random.default_rng(1), np.arange(440) % 4 < 2, np.arange(440) < 200
        age = rng.normal(size=220).repeat(2) + 1.5 * (is_member & ~known)
        seen = mint.samples("synthetic:1/web/0-219/2").adding(outcome=rng.normal(size=(440, 8)))
        shown = dict(zip(seen.table.sample_id.tolist(), age[:, None] + rng.normal(size=(440, 6)), strict=True))

        def look(samples: mint.Observations) -> mint.Observations:
            rows = np.array([shown[name] for name in samples.table.sample_id.tolist()])
            return samples.adding(outcome=rows, statistics=rows)

        recipes = {"look": [Look()], "pixel statistics": [blind.PixelStatistics()]}
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
        found = mint.audit(scorer, seen[~known], is_member[~known], [lambda _: iter([(look, recipes)])])
        areas = {one.name: one for one in found.findings}
        for name, role in (("look", findings.LOOK), ("pixel statistics", findings.BLIND)):
            assert areas[f"{name}, fitted on them"].tells_sides_apart(0.05)
            assert areas[f"{name}, fitted on them"].role == role
        assert found.outcome == "cannot decide"
        few = np.flatnonzero(~known)[:80]  # of 20 people a side nothing is decided, nor fitted
        found = mint.audit(scorer, seen[few], is_member[few], [lambda _: iter([(look, recipes)])])
        assert "too few identities" in found.headline
        assert not [one.name for one in found.findings if "fitted on them" in one.name]

    def test_faces_of_which_nobody_says_the_database_are_no_reference(self) -> None:
        faces = np.zeros((320, 8, 8, 3), np.uint8)
        for database, said in (("", pytest.raises(InputError, match="the database of faces in memory")),
                               ("ours", contextlib.nullcontext())):  # fmt: skip
            seen = mint.samples(faces, people=np.arange(320) // 2, database=database)
            seen = seen.adding(outcome=np.random.default_rng(1).normal(size=(320, 8)))
            is_member, known = np.arange(320) % 4 < 2, np.arange(320) < 120
            scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
            with said:
                mint.audit(scorer, seen[~known], is_member[~known])

    def test_a_second_look_network_does_not_stand_in_for_the_first(self) -> None:
        seen = mint.samples("synthetic:1/web/0-39/2").adding(outcome=np.random.default_rng(1).normal(size=(80, 8)))
        is_member, known = np.arange(80) % 4 < 2, np.arange(80) < 40
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
        looks = [mint.look(mint.load_model(name)) for name in ("lab2", "lab3")]
        with pytest.raises(mint.InputError, match="one look network, received 2"):
            mint.audit(scorer, seen[~known], is_member[~known], looks)

    @pytest.mark.parametrize("num_there", [39, 40])
    def test_a_control_that_misses_a_photo_is_refused(self, num_there: int) -> None:
        """Its other photos would be taken for those of others, and chance is easily beaten."""
        seen = mint.samples("synthetic:1/web/0-39/2").adding(outcome=np.random.default_rng(1).normal(size=(80, 8)))
        is_member, known = np.arange(80) % 4 < 2, np.arange(80) < 40
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])

        fitted_on = set(scorer.calibration.samples.people())

        def look(shown: mint.Observations) -> mint.Observations:
            is_fitted_on = set(shown.people()) == fitted_on
            full = shown if "outcome" in shown.arrays else seen[known]
            return full if is_fitted_on else full.take(np.arange(num_there))

        def control(_: object) -> Iterator[tuple]:
            yield look, {"foreign": [scorer.recipe]}

        if num_there == 40:
            assert mint.audit(scorer, seen[~known], is_member[~known], [control]).outcome != verdict.EVIDENCE
        else:
            with pytest.raises(mint.InputError, match="every sample to be there"):
                mint.audit(scorer, seen[~known], is_member[~known], [control])

    @pytest.mark.slow
    def test_a_look_network_knows_who_is_who(self) -> None:
        """A third of the people are there under two names; to a network that knows drawn faces they are one person."""
        seen = mint.samples("synthetic:1/web/0-59/4")
        person, photo = np.divmod(np.arange(240), 4)
        rows = np.flatnonzero((photo < 2) | (person >= 40))
        person, photo, seen = person[rows], photo[rows], seen[rows]
        names = np.char.add(person.astype(str), np.where(photo > 1, " again", ""))
        is_member = person % 2 == 0
        outcome = np.where(is_member, 1.5, 1.0)[:, None] * np.random.default_rng(1).normal(size=(len(rows), 64))
        table = dataclasses.replace(seen.table, identity=names)
        seen = mint.Observations(table, {**seen.arrays, "outcome": outcome})
        # Of four who are fitted on, the second names are among the others: they are left out.
        known = (person < 24) | (photo < 2) & (person >= 40) & (person < 44)
        scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
        look = mint.look(mint.load_model("lab2"))
        found = mint.audit(scorer, seen[~known], is_member[~known], controls=[look])
        by_name = {one.name: one for one in found.findings}
        reference = by_name["same database"]
        assert reference.num_members + reference.num_externals == pytest.approx(60 - 24 - 4, abs=3)
        assert {"look network", "the scorer through the look network"} <= set(by_name)
        assert "look control" not in found.headline
        as_named = mint.audit(scorer, seen[~known], is_member[~known]).findings[0]
        assert as_named.num_members + as_named.num_externals == 16 + 2 * 20 - 4

    def test_a_network_that_cannot_say_who_is_who_is_no_look_control(self, lab: tuple) -> None:
        model, seen, is_member = lab
        known = mint.split_calibration(seen.people(), is_member, seed=1)
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        found = mint.audit(scorer, seen[~known], is_member[~known], controls=[mint.look(model)])  # one epoch
        assert "look" not in {one.role for one in found.findings}

    def test_sides_of_different_databases_decide_nothing(self, lab: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blind, "MIN_EPOCHS", 2)  # what pixels show is not told
        monkeypatch.setattr(blind, "MIN_STEPS", 2)
        model, seen, is_member = lab
        known = mint.split_calibration(seen.people(), is_member, seed=1)
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        others = mint.observe(model, mint.samples("synthetic:1/scan/13000-13019/2"))
        members = seen[~known & is_member]
        joined = _join(members, others)
        truth = np.arange(len(joined)) < len(members)
        found = mint.audit(scorer, joined, truth, controls=[mint.pixels()])
        assert found.outcome == verdict.CANNOT_DECIDE
        assert [one.role for one in found.findings] == ["claim"]

    def test_people_of_the_calibration_are_refused(self, lab: tuple) -> None:
        _, seen, is_member = lab
        known = mint.split_calibration(seen.people(), is_member, seed=1)
        scorer = mint.MintPlus().fit(seen[known], is_member[known])
        with pytest.raises(mint.InputError, match="other people than those fitted on"):
            mint.audit(scorer, seen, is_member)
        with pytest.raises(mint.InputError, match="members and others"):
            mint.audit(scorer, seen[~known], np.zeros((~known).sum(), bool))


def _join(first: mint.Observations, second: mint.Observations) -> mint.Observations:
    from mint_keras.records import concatenate_tables

    arrays = {name: np.concatenate([first[name], second[name]]) for name in first.arrays}
    return mint.Observations(concatenate_tables([first.table, second.table]), arrays)


class TestAnyKerasModel:
    def network(self) -> keras.Model:
        keras.utils.set_random_seed(1)
        pixels = keras.Input((32, 32, 3))
        maps = LAYERS.Conv2D(16, 3, activation="relu", name="first")(pixels)
        maps = LAYERS.Conv2D(16, 3, strides=2, name="second")(maps)
        return keras.Model(pixels, LAYERS.Dense(8, name="embedding")(LAYERS.GlobalAveragePooling2D()(maps)))

    def test_taps_by_name_on_arrays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(specs.HEADS, "cnn", dataclasses.replace(specs.HEADS["cnn"], epochs=1))
        faces = np.random.default_rng(1).integers(0, 256, (160, 32, 32, 3), dtype=np.uint8)
        model = mint.load_model(self.network(), taps=["first", "second"])
        assert model.taps == ("first", "second", "outcome")
        seen = mint.observe(model, mint.samples(faces, people=[f"p{row // 2}" for row in range(160)]), with_maps=True)
        scaled = (faces[:4].astype(np.float32) - 127.5) / 127.5
        network = self.network()
        np.testing.assert_allclose(seen["outcome"][:4], network(scaled), atol=1e-5)
        maps = keras.Model(network.input, network.get_layer("first").output)(scaled).numpy()
        np.testing.assert_allclose(seen["first"][:4], maps, atol=1e-5)
        np.testing.assert_allclose(seen["first_max"][:4], maps.max(axis=(1, 2)), atol=1e-5)
        is_member = np.arange(160) < 80
        head = mint.Head("cnn", taps=["first"]).fit(seen, is_member)
        assert np.isfinite(head(seen)).all()
        with pytest.raises(mint.InputError, match="'third_max'"):
            mint.Head("vanilla", taps=["third"]).fit(seen, is_member)

    def test_another_scaling_and_outcome(self) -> None:
        faces = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        network = self.network()
        model = mint.load_model(network, taps={"conv1": "first"}, normalise=lambda x: x.astype(np.float32) / 255)
        assert model.taps == ("conv1", "outcome")
        seen = mint.observe(model, mint.samples(faces))
        np.testing.assert_allclose(seen["outcome"], network(faces / 255.0), atol=1e-5)

    def test_a_sequential_model_has_taps_too(self) -> None:
        keras.utils.set_random_seed(1)
        pixels = keras.Input((32, 32, 3))
        network = keras.Sequential([pixels, LAYERS.Conv2D(4, 3, name="first"), LAYERS.GlobalAveragePooling2D()])
        faces = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        seen = mint.observe(mint.load_model(network, taps=["first"]), mint.samples(faces))
        expected = network((faces.astype(np.float32) - 127.5) / 127.5)
        np.testing.assert_allclose(seen["outcome"], expected, atol=1e-5)
        assert seen["first_max"].shape == (3, 4)

    def test_faces_of_another_size_are_resized(self) -> None:
        faces = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
        seen = mint.observe(mint.load_model(self.network(), taps=["first"]), mint.samples(faces))
        assert len(seen) == 3

    def test_what_is_refused(self) -> None:
        with pytest.raises(mint.InputError, match="layers of"):
            mint.load_model(self.network(), taps=["last"])
        for network in (
            keras.Sequential([keras.Input((7,)), LAYERS.Dense(2)]),
            keras.Sequential([LAYERS.Dense(2)]),  # never called
            keras.Model([a := keras.Input((8, 8, 3)), b := keras.Input((8, 8, 3))], a + b),
        ):
            with pytest.raises(mint.InputError, match="square RGB"):
                mint.load_model(network)
        with pytest.raises(mint.InputError, match="uint8"):
            mint.samples(np.zeros((3, 8, 8, 3)))
        with pytest.raises(mint.InputError, match="the person on each of 3"):
            mint.samples(np.zeros((3, 8, 8, 3), np.uint8), people=["a"])
        with pytest.raises(mint.InputError):
            mint.samples()
        with pytest.raises(mint.InputError):
            mint.load_model("no/such/folder")


def test_people_of_an_array_are_who_they_are_however_they_are_spelt() -> None:
    faces = np.zeros((8, 112, 112, 3), np.uint8)
    said = ["Ann", "Ann ", "ANN", "Ann\u200b", None, float("nan"), "", "unknown"]
    found = mint.samples(faces, people=said).people()
    assert found[:4].tolist() == ["array/Ann"] * 4
    assert are_unknown(found[4:]).all()
    assert len(set(found)) == 5
    numbers = mint.samples(faces, people=np.array([1, 1, 2, 2, 3, 3, np.nan, np.nan])).people()
    assert numbers[:6].tolist() == ["array/1"] * 2 + ["array/2"] * 2 + ["array/3"] * 2
    assert are_unknown(numbers[6:]).all()
    with pytest.raises(mint.InputError, match="received 1 names"):
        mint.samples(faces, people=["a"])


@pytest.mark.parametrize("unknown", [float("nan"), None, "True", -1, 2])
def test_what_is_no_truth_is_nobodys_membership(unknown: object) -> None:
    seen = mint.samples("synthetic:1/web/0-159/2").adding(outcome=np.random.default_rng(1).normal(size=(320, 8)))
    is_member, known = np.arange(320) % 4 < 2, np.arange(320) < 120
    scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known].astype(int))
    wrong: np.ndarray = is_member.astype(object)
    wrong[-1] = unknown
    for given in (wrong, wrong.tolist()):
        with pytest.raises(mint.InputError, match="Expected True or False of each sample"):
            mint.audit(scorer, seen[~known], given[120:])
    with pytest.raises(mint.InputError, match="Expected True or False of each sample"):
        mint.MintPlus(ingredients=("norm",)).fit(seen[~known], wrong[~known])
    found = mint.audit(scorer, seen[~known], is_member[~known].astype(float))
    assert found.outcome == mint.audit(scorer, seen[~known], is_member[~known]).outcome


def test_people_that_were_fitted_on_are_refused_under_another_spelling() -> None:
    outcome = np.random.default_rng(1).normal(size=(320, 8))
    faces, rows = np.zeros((320, 16, 16, 3), np.uint8), np.arange(320)
    is_member, known = rows % 4 < 2, rows < 120
    seen = mint.samples(faces, people=[f"Person {row // 2}" for row in rows]).adding(outcome=outcome)
    again = mint.samples(faces, people=[f"person_{row // 2 - 10}" for row in rows]).adding(outcome=outcome)
    scorer = mint.MintPlus(ingredients=("norm",)).fit(seen[known], is_member[known])
    with pytest.raises(mint.InputError, match="received 10 of them"):
        mint.audit(scorer, again[~known], is_member[~known])


def test_a_converted_model_gives_what_its_file_gives(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    from tests.audited.convert import files

    path = tmp_path / "small.onnx"
    onnx.save(files.make_onnx(files.random_state(side=112), files.Dialect(input_shape=("None", 3, 112, 112))), path)
    model = mint.convert(path)
    assert model.taps[-1] == "outcome"
    faces = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    seen = mint.observe(model, mint.samples(faces))
    session = onnxruntime.InferenceSession(str(path))
    scaled = ((faces.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    expected = np.concatenate([session.run(None, {session.get_inputs()[0].name: face[None]})[0] for face in scaled])
    np.testing.assert_allclose(seen["outcome"], expected, rtol=1e-3, atol=1e-4)


def test_photos_are_scored_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = ROOT / "mint_keras" / "shelf" / "bundles" / "lab"
    found = mint.score_photos(bundle, [str(bundle / "samples")])
    assert len(found.faces) == 8
    assert not list(tmp_path.iterdir())
