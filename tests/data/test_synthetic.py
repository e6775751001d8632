"""The lab's faces: same location, same bytes; landmarks where the face is; databases as described; people differ."""

import inspect
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from mint_keras.data import face_drawing, synthetic
from mint_keras.records import InputError

DATABASES = list(synthetic.DATABASES)


@pytest.fixture(scope="module", autouse=True)
def drawn_each_time() -> Iterator[None]:
    """Here the drawing itself is asked for, where other tests are given a face that was drawn before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "render", inspect.unwrap(synthetic.render))
        yield


@pytest.fixture(scope="module")
def shots() -> dict[str, np.ndarray]:
    """Forty people as each database shows them, (40, 112, 112, 3), float32."""
    return {
        name: np.stack([synthetic.render(f"synthetic:1/{name}/{k}/0") for k in range(40)]).astype(np.float32)
        for name in DATABASES
    }


def colourfulness(images: np.ndarray) -> float:
    return float((images.max(axis=-1) - images.min(axis=-1)).mean())


def detail(images: np.ndarray) -> float:
    return float(np.mean([cv2.Laplacian(image.mean(axis=-1), cv2.CV_32F).std() for image in images]))


def contrast(images: np.ndarray) -> float:
    return float(images.mean(axis=-1).std(axis=(1, 2)).mean())


@pytest.mark.parametrize("database", [*DATABASES, "camera1", "camera999"])
def test_same_location_same_bytes(database: str) -> None:
    location = f"synthetic:1/{database}/17/3"
    image = synthetic.render(location)
    assert image.shape == (112, 112, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.tobytes() == synthetic.render(location).tobytes()


@pytest.mark.parametrize("other", ["2/web/17/3", "1/news/17/3", "1/web/18/3", "1/web/17/4"])
def test_any_other_location_other_bytes(other: str) -> None:
    image = synthetic.render("synthetic:1/web/17/3")
    assert image.tobytes() != synthetic.render(f"synthetic:{other}").tobytes()


def test_the_bytes_of_the_named_databases_are_those_that_models_and_figures_were_made_of() -> None:
    # In whole numbers up to the drawing, whose sines differ in the last bits between libraries: so not a hash.
    means = [synthetic.render(f"synthetic:1/{name}/17/3").mean() for name in DATABASES]
    assert means == pytest.approx([146.0, 108.4, 171.1, 101.6, 193.3, 183.5], abs=0.2)


def test_every_camera_is_another_and_always_the_same() -> None:
    one, other = (synthetic.render(f"synthetic:1/camera{number}/17/3") for number in (1, 2))
    assert one.mean() == pytest.approx(154.5, abs=0.2)
    assert abs(one.astype(int) - other).mean() > 3


@pytest.mark.parametrize("name", ["camera", "camera0", "camera01", "camera1000", "camera-1", "web1"])
def test_other_numbers_are_no_databases(name: str) -> None:
    with pytest.raises(InputError, match=r"Expected .*(camera1 to camera999|SEED/DATABASE)"):
        synthetic.sample_table(f"synthetic:1/{name}/3/1")


def test_cameras_are_drawn_from_ranges_that_hold_the_named_databases() -> None:
    cameras = [synthetic._capture(f"camera{number}")[0] for number in range(1, 1000)]
    for name, capture in synthetic.DATABASES.items():
        for field in ("size", "jpeg", "noise", "contrast", "brightness", "saturation", "cast"):
            low = min(min(getattr(camera, field)) for camera in cameras)
            high = max(max(getattr(camera, field)) for camera in cameras)
            assert low <= min(getattr(capture, field)), (name, field)
            assert max(getattr(capture, field)) <= high, (name, field)


Drawn = tuple[face_drawing.Person, face_drawing.Scene, complex, complex]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """What the faces that are rendered were drawn from."""
    calls: list[Drawn] = []
    draw = face_drawing.draw
    monkeypatch.setattr(face_drawing, "draw", lambda *call: calls.append(call) or draw(*call))
    return calls


def test_a_person_is_the_same_in_every_database(drawn: list[Drawn]) -> None:
    for database in DATABASES:
        synthetic.render(f"synthetic:1/{database}/17/3")
    synthetic.render("synthetic:1/web/18/3")
    first, *people, other = [vars(person) for person, *_ in drawn]
    assert all(person == first for person in people)
    assert other != first


def test_landmarks_lie_near_the_template(drawn: list[Drawn]) -> None:
    for k in range(200):
        synthetic.render(f"synthetic:1/web/{k}/0")
    placed = [
        (face_drawing.landmarks(person, scene) @ [1, 1j]) * factor + origin for person, scene, factor, origin in drawn
    ]
    points = np.stack([np.real(placed), np.imag(placed)], axis=-1)
    assert points.shape == (200, 5, 2)
    distance = np.linalg.norm(points - synthetic.TEMPLATE, axis=-1)
    assert distance.mean() < 6
    assert distance.min() > 0, "every aligner makes errors"


@pytest.mark.parametrize("seed", range(5))
def test_eye_landmarks_are_where_the_eyes_are_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    person, scene = face_drawing.Person(rng), face_drawing.Scene(rng)
    person.wears_glasses, person.hair_style = False, "bald"
    scene.gaze = scene.eyes_closed = 0.0
    drawn = []
    for iris in ((0, 0, 0), (255, 255, 255)):
        person.iris = iris
        drawn.append(face_drawing.draw(person, scene, 17.6, 56 + 52j))
    dark, bright = drawn
    changed = np.abs(bright.astype(np.int16) - dark).sum(axis=-1)
    expected = face_drawing.landmarks(person, scene)[:2] * 17.6 + np.array([56, 52])
    middle = int(expected[:, 0].mean())
    for half, start, point in ((changed[:, :middle], 0, expected[0]), (changed[:, middle:], middle, expected[1])):
        y, x = np.nonzero(half)
        found = np.average(np.stack([x + start, y], axis=1), axis=0, weights=half[y, x])
        assert np.linalg.norm(found - point) < 1.5


def test_a_spec_names_every_image_once() -> None:
    table = synthetic.sample_table("synthetic:1/web/3-5/4")
    assert len(table) == 12
    assert len(set(table.sample_id)) == len(set(table.location)) == 12
    assert set(table.database) == {"web"}
    assert len(set(table.identity)) == 3
    assert table.sample_id[0] == "1-web-000003-000"
    assert table.location[-1] == "synthetic:1/web/5/3"
    assert all(synthetic.is_synthetic(location) for location in table.location)


def test_a_single_location_is_a_spec_too() -> None:
    table = synthetic.sample_table("synthetic:7/cctv/12/9")
    assert table.location.tolist() == ["synthetic:7/cctv/12/9"]


@pytest.mark.parametrize(
    "bad", ["synthetic:", "synthetic:1/web", "synthetic:1/web/5-3/10", "synthetic:1/web/0-3/0", "synthetic:x/web/0-3/1"]
)
def test_a_malformed_spec_is_refused_with_an_example(bad: str) -> None:
    with pytest.raises(InputError, match="synthetic:1/web/0-399/10") as caught:
        synthetic.sample_table(bad)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("call", [synthetic.sample_table, synthetic.render])
def test_an_unknown_database_is_refused_with_the_known_ones(call: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"web.*cctv.*received 'moon'"):
        call("synthetic:1/moon/3/1")


def test_render_refuses_a_spec_of_many() -> None:
    with pytest.raises(InputError, match="Expected one lab face"):
        synthetic.render("synthetic:1/web/0-3/1")


def test_only_lab_faces_are_synthetic() -> None:
    assert synthetic.is_synthetic("synthetic:1/web/0-3/1")
    assert not synthetic.is_synthetic("/data/synthetic:1/web/0/1.jpg")


def test_databases_look_as_described(shots: dict[str, np.ndarray]) -> None:
    assert len(shots) >= 5
    assert colourfulness(shots["cctv"]) < 1
    assert detail(shots["cctv"]) < detail(shots["web"])
    assert detail(shots["phone"]) > 1.5 * detail(shots["web"])
    assert colourfulness(shots["phone"]) > 1.2 * colourfulness(shots["web"])
    assert shots["webcam"].mean() < shots["web"].mean() - 15
    assert contrast(shots["scan"]) < 0.85 * contrast(shots["web"])


def test_photos_of_one_person_are_alike() -> None:
    num_people, num_known = 30, 4
    images = np.stack(
        [[synthetic.render(f"synthetic:1/web/{p}/{k}") for k in range(num_known + 2)] for p in range(num_people)]
    )
    small = images.reshape(num_people, num_known + 2, 14, 8, 14, 8, 3).mean(axis=(3, 5)).reshape(num_people, -1, 588)
    small = small - small.mean(axis=-1, keepdims=True)
    small /= small.std(axis=-1, keepdims=True)
    means, queries = small[:, :num_known].mean(axis=1), small[:, num_known:].reshape(-1, 588)
    distance = ((queries[:, None] - means) ** 2).mean(axis=-1)
    truth = np.repeat(np.arange(num_people), 2)
    own = distance[np.arange(len(truth)), truth]
    others = (distance.sum(axis=1) - own) / (num_people - 1)
    assert own.mean() < 0.8 * others.mean()
    found = np.mean(distance.argmin(axis=1) == truth)
    assert 3 / num_people < found < 0.9, "people differ, but raw pixels alone do not tell them apart"
