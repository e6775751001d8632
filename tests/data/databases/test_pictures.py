"""Databases of pictures (Appendix A of the paper), written here in the layouts that they are published in."""

import json
import pickle
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import images, layouts, people, samples
from mint_keras.records import InputError, SampleTable

PICTURES = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def attributes(table: SampleTable, key: str) -> list[str | None]:
    return [json.loads(text).get(key) for text in table.attributes]


def read(table: SampleTable) -> np.ndarray:
    reader = images.FaceReader()
    return np.stack([reader.image(str(location)) for location in table.location])


def write_cifar(folder: Path, protocol: int, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    flat = PICTURES.transpose(0, 3, 1, 2).reshape(6, -1)
    for part, rows in (("train", slice(4)), ("test", slice(4, 6))):
        num = len(flat[rows])
        names = [f"x_{i}.png".encode() for i in range(num)]
        content = {b"data": flat[rows], b"fine_labels": [1] * num, b"filenames": names, b"batch_label": b"x", **changes}
        (folder / part).write_bytes(pickle.dumps(content, protocol))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"bee"]}, protocol))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar100_pickles(tmp_path: Path, protocol: int) -> None:
    write_cifar(tmp_path / "cifar-100-python", protocol)
    assert layouts.recognise(tmp_path / "cifar-100-python") == "cifar-100 pickles"
    table = samples.list_samples(f"cifar={tmp_path / 'cifar-100-python'}")
    assert table.sample_id.tolist()[3:5] == ["cifar/train/00003", "cifar/test/00000"]
    assert len(np.unique(table.people())) == 6
    assert attributes(table, "class") == ["bee"] * 6
    assert attributes(table, "part") == ["train"] * 4 + ["test"] * 2
    np.testing.assert_array_equal(read(table), PICTURES)
    with pytest.raises(InputError, match="Expected one of 4 images"):
        images.FaceReader().image(f"{tmp_path / 'cifar-100-python' / 'train'}#4")


def test_cifar100_pickles_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    write_cifar(folder, 2, **{"evil": Path("/")})
    with pytest.raises(InputError, match=r"asks for pathlib.*: not read"):
        samples.list_samples(str(folder))
    write_cifar(folder, 2)
    content = pickle.dumps({b"data": PICTURES.reshape(6, -1), b"fine_labels": [7] * 6, b"filenames": []}, 2)
    (folder / "train").write_bytes(content)
    with pytest.raises(InputError, match="Expected a class of"):
        samples.list_samples(str(folder))
    (folder / "train").write_bytes(content[:5000])
    with pytest.raises(InputError, match="complete pickle"):
        samples.list_samples(str(folder))
    (folder / "train").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(InputError, match="Expected a dictionary"):
        samples.list_samples(str(folder))


def write_png(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def test_cifar100_folders(tmp_path: Path) -> None:
    for label in range(100):
        (tmp_path / "cifar100" / "train" / f"{label:02d}").mkdir(parents=True)
    write_png(tmp_path / "cifar100/train/07/0.png", PICTURES[0])
    write_png(tmp_path / "cifar100/test/07/0.png", PICTURES[1])
    assert layouts.recognise(tmp_path / "cifar100") == "cifar-100 folders"
    table = samples.list_samples(str(tmp_path / "cifar100"))
    assert attributes(table, "part") == ["test", "train"]
    assert attributes(table, "class") == ["07", "07"]
    np.testing.assert_array_equal(read(table), PICTURES[[1, 0]])


def test_tiny_imagenet(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-imagenet-200"
    for name in (
        "train/n01443537/images/n01443537_0.JPEG",
        "val/images/val_0.JPEG",
        "test/images/test_0.JPEG",
    ):
        write_png(folder / name, PICTURES[0])
    (folder / "train/n01443537/n01443537_boxes.txt").write_text("n01443537_0.JPEG\t0\t10\t63\t58\n")
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn03444034\t0\t32\t44\t62\n")
    (folder / "wnids.txt").write_text("n01443537\n")
    table = samples.list_samples(str(folder))
    assert attributes(table, "part") == ["test", "train", "val"]
    assert attributes(table, "class") == [None, "n01443537", "n03444034"]
    assert len(np.unique(table.people())) == 3
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG n03444034\n")
    with pytest.raises(InputError, match="separated by tabs"):
        samples.list_samples(str(folder))


def test_coco_knows_a_picture_again(tmp_path: Path) -> None:
    names = ("train2014/COCO_train2014_000000000009.jpg", "train2017/000000000009.jpg", "val2017/000000000139.jpg")
    for name in names:
        write_png(tmp_path / "coco" / name, PICTURES[0])
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").write_text("{}")
    assert layouts.recognise(tmp_path / "coco") == "coco"
    table = samples.list_samples(str(tmp_path / "coco"))
    assert table.identity.tolist() == ["9", "9", "139"]
    assert attributes(table, "part") == ["train2014", "train2017", "val2017"]


@pytest.mark.parametrize(
    ("layout", "names", "label"),
    [
        ("caltech-256", ("256_ObjectCategories/001.ak47/001_0001.jpg", "257.clutter/257_0001.jpg"), "001.ak47"),
        ("caltech-101", ("101_ObjectCategories/accordion/image_0001.jpg",), "accordion"),
    ],
)
def test_caltech(tmp_path: Path, layout: str, names: tuple[str, ...], label: str) -> None:
    for name in names:
        write_png(tmp_path / name, PICTURES[0])
    assert layouts.recognise(tmp_path) == layout
    table = samples.list_samples(str(tmp_path))
    assert attributes(table, "class")[0] == label
    assert len(np.unique(table.people())) == len(names)


def write_tfds(
    folder: Path, names: tuple[str, ...] = ("apple", "bee"), called: str = "cifar100", more: str = "id"
) -> Path:
    """As tensorflow_datasets 4 prepares cifar100; TensorFlow itself writes the records."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"name": "cifar100", "fileFormat": "tfrecord", "version": "3.0.2"}')
    (folder / "features.json").write_text("{}")
    (folder / "label.labels.txt").write_text("".join(f"{name}\n" for name in names))
    for part, rows in (("train", range(4)), ("test", range(4, 6))):
        with tf.io.TFRecordWriter(str(folder / f"{called}-{part}.tfrecord-00000-of-00001")) as writer:
            for row in rows:
                encoded = cv2.imencode(".png", PICTURES[row][..., ::-1])[1].tobytes()
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 3])),
                    more: tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"id_{row // 2}".encode()])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return folder


def test_tensorflow_datasets(tmp_path: Path) -> None:
    folder = write_tfds(tmp_path / "cifar100" / "3.0.2")
    assert layouts.recognise(folder) == "tensorflow_datasets"
    table = samples.list_samples(f"cifar={folder}")
    assert attributes(table, "part") == ["test"] * 2 + ["train"] * 4
    assert attributes(table, "class") == ["bee", "2", "apple", "bee", "2", "apple"]
    np.testing.assert_array_equal(read(table), PICTURES[[4, 5, 0, 1, 2, 3]])
    shard = folder / "cifar100-train.tfrecord-00000-of-00001"
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    with pytest.raises(InputError, match="ends behind the file"):
        samples.list_samples(str(folder))
    (length,) = struct.unpack_from("<Q", content)
    shard.write_bytes(content[:12] + b"\xff" * length + content[12 + length :])
    with pytest.raises(InputError, match="Expected an example at 0"):
        samples.list_samples(str(folder))


def test_whoever_is_on_the_faces_of_tensorflow_datasets_is_unknown_or_as_a_feature_says(tmp_path: Path) -> None:
    pictures = samples.list_samples(str(write_tfds(tmp_path / "cifar100" / "1.0.0")))
    assert len(np.unique(pictures.people())) == 6
    assert not people.are_unknown(pictures.people()).any()
    # By its label, which is read as a class, it may be of two people: nobody knows.
    faces = samples.list_samples(str(write_tfds(tmp_path / "lfw" / "1.0.0", called="lfw", more="face_id")))
    assert people.are_unknown(faces.people()).all()
    named = samples.list_samples(str(write_tfds(tmp_path / "mine" / "1.0.0", called="mine", more="person_id")))
    assert (
        named.people().tolist() == ["mine/id_2"] * 2 + ["mine/id_0"] * 2 + ["mine/id_1"] * 2
    )  # not called by the version
