"""Shadows: who is in which, what they share, and that none is trained twice."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from mint_keras import borders, formats
from mint_keras.audited import iresnet, zoo
from mint_keras.audited.margins import MARGINS
from mint_keras.data import images, sample_tables, samples
from mint_keras.training import fine_tuning, fit_audited, shadows

SETTINGS = fit_audited.AuditedTraining(1, 4, 0.01, 0.0, 1, True, MARGINS["arcface"], 32.0, "stage2")


def test_a_coin_for_everybody_and_all_photos_of_a_person_together() -> None:
    people = np.repeat([f"p{k:04d}" for k in range(2000)], 2)
    first, second = (shadows.coin_flips(people, 0.25, 1, number) for number in (1, 2))
    assert np.array_equal(first[::2], first[1::2])
    assert first.mean() == pytest.approx(0.25, abs=0.03)
    assert (first & second).mean() == pytest.approx(0.25**2, abs=0.02)  # one coin knows nothing of the other
    np.testing.assert_array_equal(first, shadows.coin_flips(people, 0.25, 1, 1))


def test_who_is_in_which_is_written_down_and_none_is_trained_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = samples.list_samples("synthetic:1/web/0-9/2")
    trained: list[np.ndarray] = []

    def fit(
        model: keras.Model, mine: np.ndarray, labels: np.ndarray, settings: object, out: Path, batch: object
    ) -> None:
        assert len(mine) == len(labels)
        shown = batch(mine, np.array([0, 1]), np.array([False, True]))
        assert shown.shape[1:] == model.input.shape[1:]
        trained.append(mine)

    maps = []
    monkeypatch.setattr(fit_audited, "fit_audited", fit)
    original = fine_tuning.maps_of
    monkeypatch.setattr(fine_tuning, "maps_of", lambda *given: maps.append(1) or original(*given))

    def begin() -> keras.Model:
        return iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 8), 32)

    def train(num: int) -> None:
        shadows.train_shadows(begin, table, images.Framing(32), SETTINGS, num, 0.5, tmp_path / "out")

    with formats.output_folder(tmp_path / "out", formats.make_manifest(zoo.KIND, {}, {"resolution": 32})):
        train(2)
    assert len(trained) == 2
    assert len(maps) == 1  # of all shadows
    train(3)
    assert len(trained) == 3
    who = borders.read_csv(tmp_path / "out" / shadows.WHO)
    for number in (1, 2, 3):
        folder = tmp_path / "out" / shadows.FOLDER / str(number)
        members = sample_tables.read_samples(folder / formats.MEMBERS)
        said = {name for name, is_in in zip(who["person"], who[f"shadow_{number}"], strict=True) if is_in == "1"}
        assert set(members.people()) == said
        assert 0 < len(said) < 10
        assert zoo.load_audited(folder).count_params() > 0
    assert not list((tmp_path / "out").glob("*.npy"))
