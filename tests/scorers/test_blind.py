"""What pixels alone give away: statistics against slow and obvious computations, scorers on drawn databases."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.aad.observe import observe
from mint_keras.data import images, samples, synthetic, transplant
from mint_keras.records import InputError, Observations, concatenate_tables
from mint_keras.scorers import blind, forensics
from mint_keras.scorers.blind import PixelNetwork, PixelStatistics
from mint_keras.scorers.forensics import NAMES, statistics
from mint_keras.statistics import metrics
from tests.scorers.seen import observed

FACES = np.stack([synthetic.render(f"synthetic:1/web/{person}/0") for person in range(6)])


def named(faces: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, statistics(faces).T, strict=True))


def test_columns_have_names_and_batches_do_not_matter() -> None:
    values = statistics(FACES)
    assert (values.shape, values.dtype) == ((6, len(set(NAMES))), np.float32)
    assert (values.std(axis=0) > 0).sum() > 40
    np.testing.assert_allclose(np.concatenate([statistics(FACES[:1]), statistics(FACES[1:])]), values, atol=1e-4)
    assert statistics(FACES[:0]).shape == (0, len(NAMES))


@pytest.mark.parametrize("face", [np.zeros((112, 112, 3), np.uint8), np.full((17, 16, 3), 255, np.uint8)])
def test_flat_images_have_finite_statistics(face: np.ndarray) -> None:
    values = named(face[None])
    assert np.isfinite(list(values.values())).all()
    assert values["share_dark"] == values["border_dark_left"] == (face.max() == 0)
    assert values["share_bright"] == (face.max() == 255)


@pytest.mark.parametrize("faces", [FACES / 255, FACES[0], FACES[..., :1], FACES[:, :15]])
def test_other_arrays_are_refused(faces: np.ndarray) -> None:
    with pytest.raises(InputError, match="Expected RGB images"):
        statistics(faces)


def test_statistics_agree_with_slow_ones() -> None:
    found = named(FACES)
    for k, face in enumerate(FACES):
        luma_chroma = cv2.cvtColor(face, cv2.COLOR_RGB2YCrCb).astype(float)
        luma = luma_chroma[..., 0]
        for axis, steps in (("x", np.abs(np.diff(luma, axis=1))), ("y", np.abs(np.diff(luma, axis=0)).T)):
            for phase in (0, 3):  # the step between columns 7 and 8 is the eighth
                borders = [steps[:, j].mean() for j in range(111) if (j + 1) % 8 == phase]
                expected = np.log(np.mean(borders) / steps.mean())
                assert found[f"blockiness_{axis}_{phase}"][k] == pytest.approx(expected, abs=1e-4)
        noise = face.astype(float) - cv2.medianBlur(face, 3)
        for channel, name in enumerate(("red", "green", "blue")):
            values = noise[..., channel].ravel()
            assert found[f"noise_mean_{name}"][k] == pytest.approx(values.mean(), abs=1e-4)
            assert found[f"noise_log_std_{name}"][k] == pytest.approx(np.log(values.std()), abs=1e-4)
            kurtosis = np.mean((values - values.mean()) ** 4) / values.var() ** 2
            assert found[f"noise_log_kurtosis_{name}"][k] == pytest.approx(np.log(kurtosis), abs=1e-3)
        expected = np.corrcoef(noise[..., 0].ravel(), noise[..., 2].ravel())[0, 1]
        assert found["noise_correlation_red_blue"][k] == pytest.approx(expected, abs=1e-4)
        values = luma_chroma[..., 1].ravel()
        skewness = np.mean((values - values.mean()) ** 3) / values.std() ** 3
        assert found["colour_mean_cr"][k] == pytest.approx(values.mean(), abs=1e-3)
        assert found["colour_skewness_cr"][k] == pytest.approx(skewness, abs=1e-3)
        laplacian = cv2.Laplacian(luma.astype(np.uint8), cv2.CV_64F)
        assert found["log_sharpness"][k] == pytest.approx(np.log(laplacian.var()), abs=1e-4)


@pytest.mark.parametrize("shape", [(112, 112), (64, 49)])
def test_power_by_ring_is_that_of_the_whole_plane(shape: tuple[int, int]) -> None:
    luma = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    window = np.outer(np.hanning(shape[0]), np.hanning(shape[1]))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    ring = np.minimum(np.floor(radius * 16), 7)
    expected = [np.log(power[ring == band].sum() / power.sum()) for band in range(8)]
    np.testing.assert_allclose(forensics._log_power(luma[None])[0], expected, atol=1e-3)


def test_each_trace_moves_its_statistic() -> None:
    """What a pipeline does is seen where it should be, against the same faces without."""
    before = named(FACES)

    def change(edit) -> dict[str, np.ndarray]:
        after = named(np.stack([edit(face) for face in FACES]))
        return {name: after[name] - before[name] for name in NAMES}

    def compress(face: np.ndarray) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 15])[1], cv2.IMREAD_COLOR)

    blocks = change(compress)
    for axis in ("x", "y"):
        phases = np.stack([blocks[f"blockiness_{axis}_{phase}"] for phase in range(8)])
        assert (phases[0] > 0.3).all()
        assert (phases.argmax(axis=0) == 0).all()
    moved = change(lambda face: np.roll(compress(face), 3, axis=1))
    assert (moved["blockiness_x_3"] > 0.3).all()  # the phase is that of the cut
    noise = np.random.default_rng(0).integers(-20, 21, (112, 112, 1))
    noisy = change(lambda face: np.clip(face + noise, 0, 255).astype(np.uint8))
    for name in ("noise_log_std_green", "noise_correlation_red_green", "log_power_7", "log_sharpness"):
        assert (noisy[name] > 0).all()
    shrunk = change(lambda face: cv2.resize(cv2.resize(face, (40, 40), interpolation=cv2.INTER_AREA), (112, 112)))
    assert (shrunk["log_power_7"] < -0.5).all()
    assert (shrunk["log_sharpness"] < -1).all()
    bordered = change(lambda face: np.pad(face[:, :100], ((0, 0), (0, 12), (0, 0))))
    assert (bordered["border_dark_right"] > 0.9).all()
    assert (bordered["border_dark_left"] == 0).all()
    assert (bordered["share_dark"] > 0.1).all()


@pytest.fixture(scope="module")
def databases() -> tuple[Observations, np.ndarray, np.ndarray]:
    """What the scorers take, side and whether they train, of 80 people of each of two databases."""
    tables = [samples.list_samples(f"synthetic:1/{source}/1") for source in ("web/0-79", "scan/1000-1079")]
    seen = observe(concatenate_tables(tables), blind.features, batch_size=blind.BATCH_SIZE, is_filled=False)
    assert len(seen) == 160
    return seen, np.arange(160) < 80, np.arange(160) % 5 > 0


def test_different_databases_are_told_apart(databases: tuple) -> None:
    seen, is_member, is_train = databases
    scorer = PixelStatistics()
    assert (scorer.name, scorer.tap, scorer.needs.has_pixels) == ("pixel statistics", "pixels", True)
    logits = scorer.fit(seen.take(is_train), is_member[is_train])(seen.take(~is_train))
    assert (logits.shape, logits.dtype) == ((32,), np.float32)
    assert metrics.auc(is_member[~is_train], logits) > 0.95


def test_one_database_is_not_told_from_itself(databases: tuple) -> None:
    """Sides at random among 80 people, many times: on average the blind scorer is at chance."""
    seen, is_member, _ = databases
    web = seen.take(is_member)
    areas = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        side, is_train = rng.permutation(80) < 40, rng.permutation(80) < 48
        score = PixelStatistics().fit(web.take(is_train), side[is_train])
        areas.append(metrics.auc(side[~is_train], score(web.take(~is_train))))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.1)


def test_a_transplant_takes_away_what_the_encoding_alone_shows(tmp_path: Path) -> None:
    """Two halves of one database, one of them compressed: told apart, until the other goes the same way."""
    faces = np.stack([synthetic.render(f"synthetic:1/web/{person}/0") for person in range(120)])
    is_member, is_train = np.arange(120) < 60, np.arange(120) % 5 > 1
    for number, face in enumerate(faces[is_member]):
        cv2.imwrite(str(tmp_path / f"{number:03d}.jpg"), face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])
    table = samples.list_samples(str(tmp_path))
    compressed = np.concatenate([images.first_faces(table, 60), faces[~is_member]])

    def area(shown: np.ndarray) -> float:
        seen = observed(np.arange(120), blind.features(shown))
        score = PixelStatistics().fit(seen.take(is_train), is_member[is_train])
        return metrics.auc(is_member[~is_train], score(seen.take(~is_train)))

    assert area(compressed) > 0.9
    pipeline, rng = transplant.estimate(table), np.random.default_rng(0)
    compressed[~is_member] = transplant.transplant(compressed[~is_member], pipeline, rng)
    assert area(compressed) < 0.75


def stripes(num: int, rng: np.random.Generator) -> tuple[Observations, np.ndarray]:
    """Members have stripes that lie, externals ones that stand; values are the same."""
    is_member = rng.permutation(num) < num // 2
    wave = np.sin(np.arange(16)[:, None] * 1.5 + rng.uniform(0, 6, (num, 1, 1))) * 60 + np.zeros(16)
    wave[~is_member] = wave[~is_member].transpose(0, 2, 1)
    noisy = 128 + wave[..., None] + rng.normal(0, 20, (num, 16, 16, 3))
    return observed(np.arange(num), {blind.THUMBNAILS: noisy.clip(0, 255).astype(np.uint8)}), is_member


@pytest.mark.long
def test_the_small_cnn_learns_what_pixels_show(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train, is_member = stripes(256, rng)
    test, claimed = stripes(100, rng)
    logits = PixelNetwork(tmp_path).fit(train, is_member, 3)(test)
    assert (logits.shape, logits.dtype) == ((100,), np.float32)
    assert metrics.auc(claimed, logits) > 0.9
    with pytest.raises(InputError, match="at least 64"):
        PixelNetwork(tmp_path / "few").fit(train, np.arange(256) < 63, 3)
    assert (tmp_path / "training.csv").is_file()


@pytest.mark.long
def test_the_small_cnn_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "MIN_STEPS", 4)
    monkeypatch.setattr(blind, "MIN_EPOCHS", 2)
    train, is_member = stripes(128, np.random.default_rng(0))
    folders = (tmp_path / "one", None, None)  # what is written changes nothing
    recipes = zip(folders, (3, 3, 4), strict=True)
    logits = [PixelNetwork(folder).fit(train, is_member, seed)(train) for folder, seed in recipes]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_small_pictures_stay_as_they_are_and_unreadable_ones_are_left_out(tmp_path: Path) -> None:
    small = FACES[:, :32, :32]
    np.testing.assert_array_equal(blind.features(small)[blind.THUMBNAILS], small)
    images.write_png(tmp_path / "a.png", FACES[0])
    (tmp_path / "b.png").write_bytes(b"no picture")
    table = samples.list_samples(str(tmp_path))
    seen = observe(table, blind.features, batch_size=blind.BATCH_SIZE, is_filled=False)
    assert seen.table.sample_id.tolist() == table.sample_id.tolist()[:1]
    np.testing.assert_array_equal(seen[blind.STATISTICS], statistics(FACES[:1]))
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match="without any"):
        observe(samples.list_samples(str(tmp_path)), blind.features)
