"""What a model gives for faces and their views, against one face at a time."""

import keras
import numpy as np
import pytest

from mint_keras import vectors
from mint_keras.aad import pooling, signals, views
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet, taps
from mint_keras.data import images, synthetic
from mint_keras.records import InputError, SampleTable


def draw(num: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num, 12, 10, 3), np.uint8)


@pytest.mark.parametrize("name", views.VIEWS)
def test_a_view_depends_on_its_face_only(name: str) -> None:
    faces = draw(3)
    seen = views.VIEWS[name](faces)
    assert (seen.shape, seen.dtype) == (faces.shape, np.uint8)
    assert not np.array_equal(seen, faces)
    np.testing.assert_array_equal(views.VIEWS[name](faces[::-1]), seen[::-1])
    np.testing.assert_array_equal(views.VIEWS[name](faces[1:2])[0], seen[1])


def test_views_by_hand() -> None:
    faces = draw(2)
    np.testing.assert_array_equal(views.VIEWS["mirrored"](faces)[:, :, 0], faces[:, :, 9])
    np.testing.assert_array_equal(views.VIEWS["right"](faces)[:, :, 5], faces[:, :, 1])
    np.testing.assert_array_equal(views.VIEWS["up"](faces)[:, 5], faces[:, 9])
    np.testing.assert_array_equal(views.VIEWS["up"](faces)[:, 11], faces[:, 11])
    np.testing.assert_array_equal(views.VIEWS["brighter"](faces), np.minimum(faces.astype(int) + views.BRIGHTNESS, 255))
    np.testing.assert_array_equal(views.VIEWS["darker"](faces), np.maximum(faces.astype(int) - views.BRIGHTNESS, 0))
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    noise = views.VIEWS["noisy"](grey).astype(float) - 128
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.3), pytest.approx(views.NOISE, rel=0.05))
    np.testing.assert_array_equal(views.VIEWS["blurred"](grey), grey)


def test_cosines_and_norms_by_hand() -> None:
    def embed(faces: np.ndarray) -> dict[str, np.ndarray]:  # the left upper pixel, and the right upper one
        return {taps.OUTCOME: np.stack([faces[:, 0, 0, 0], faces[:, 0, -1, 0]], axis=1).astype(np.float32)}

    faces = np.full((1, 12, 10, 3), 100, np.uint8)
    faces[:, :, -1] = 0
    outputs = views.with_views(embed, embed)(faces)
    place = list(views.VIEWS).index
    np.testing.assert_allclose(outputs[views.COSINES][0, [place("mirrored"), place("darker")]], [0.0, 1.0], atol=1e-7)
    np.testing.assert_allclose(outputs[views.NORM_RATIOS][0, place("darker")], np.log(0.76), rtol=1e-6)
    np.testing.assert_allclose(outputs[views.COSINES][0, place("brighter")], 124 / np.hypot(124, 24), rtol=1e-6)
    assert outputs[views.OUTCOMES].dtype == np.float16
    seen = outputs[views.OUTCOMES][0, [place("mirrored"), place("brighter")]]
    np.testing.assert_allclose(seen, [[0, 1], [124 / np.hypot(124, 24), 24 / np.hypot(124, 24)]], atol=1e-3)


def test_reading_streams_everything_in_order() -> None:
    keras.utils.set_random_seed(1)
    model, framing = iresnet.iresnet(iresnet.IResNetSpec((1, 1), (16, 16), 16), 32), images.Framing(32)
    table = synthetic.sample_table("synthetic:1/web/0-1/3")
    missing = SampleTable(*(np.append(column, "missing.jpg") for column in table.columns().values()))
    function = views.face_function(model)
    found = observe(missing, function, framing, batch_size=4)
    assert found.table.sample_id.tolist() == table.sample_id.tolist()
    maps = {pooling.array_name(tap, kind) for tap in ("conv1", "conv2") for kind in views.POOLINGS}
    assert set(found.arrays) == maps | {
        taps.OUTCOME, views.COSINES, views.NORM_RATIOS, views.OUTCOMES, signals.BN_DISTANCE
    }  # fmt: skip
    assert found[views.COSINES].shape == found[views.NORM_RATIOS].shape == (6, len(views.VIEWS))
    face = images.read_faces(table.take(np.array([5])), framing)[1]
    plain = np.asarray(model(iresnet.normalise(face)))
    np.testing.assert_allclose(found[taps.OUTCOME][5:], plain, rtol=1e-3, atol=1e-5)
    for k, view in enumerate(views.VIEWS.values()):
        seen = np.asarray(model(iresnet.normalise(view(face))))
        assert found[views.COSINES][5, k] == pytest.approx(vectors.cosines(plain, seen)[0], abs=1e-4)
        assert found[views.NORM_RATIOS][5, k] == pytest.approx(
            np.log(np.linalg.norm(seen) / np.linalg.norm(plain)), abs=1e-3
        )
    with pytest.raises(InputError, match="received 1 samples without any"):
        observe(missing.take(np.array([6])), function, framing)
