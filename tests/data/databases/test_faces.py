"""Databases of faces, written here in the layouts that they are published in."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras.data import files, images, layouts, samples
from mint_keras.records import InputError, SampleTable


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def attributes(table: SampleTable) -> list[dict[str, str]]:
    return [json.loads(text) for text in table.attributes]


def rejected(folder: Path) -> dict[str, str]:
    """Fills the files with pictures; what can be read and what cannot add up, and these cannot, for a reason."""
    table, reader = samples.list_samples(str(folder)), images.FaceReader()
    for location in table.location.tolist():
        if Path(location).is_file():
            images.write_png(Path(location), np.zeros((112, 112, 3), np.uint8))
    used = np.concatenate([rows for rows, _ in reader.batches(table, 8)])
    assert len(used) + len(reader.rejected) == len(table)
    assert len(np.unique(table.people())) >= len(reader.rejected)
    lost = np.delete(table.sample_id, used).tolist()
    return {name: entry.reason.partition("received ")[2].partition(" (")[0] for name, entry in zip(
        lost, reader.rejected, strict=True)}  # fmt: skip


FOLD = (
    "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
    "30601258@N03\t10399646885_67c7d20df9_o.jpg\t1\t(25, 32)\tf\t0\t414\t1086\t1383\t-115\t30\t17\n"
    "30601258@N03\t10424815813_e94629b1ec_o.jpg\t2\tNone\t\t301\t105\t640\t641\t0\t0\t94\n"
)


def test_adience(tmp_path: Path) -> None:
    """Two people in one user's album, one of them twice; fold files beside the pictures."""
    folder = make(
        tmp_path / "adience",
        "faces/30601258@N03/coarse_tilt_aligned_face.1.10399646885_67c7d20df9_o.jpg",
        "faces/30601258@N03/coarse_tilt_aligned_face.2.10424815813_e94629b1ec_o.jpg",
        "faces/30601258@N03/coarse_tilt_aligned_face.2.10437979845_5985be4b26_o.jpg",
        "faces/7153718@N04/coarse_tilt_aligned_face.1.9733154143_2ee9f5ff9c_o.jpg",
    )
    (folder / "fold_0_data.txt").write_text(FOLD)
    assert layouts.recognise(folder) == "adience"
    table = samples.list_samples(str(folder))
    assert table.identity.tolist() == ["30601258@N03/1", "30601258@N03/2", "30601258@N03/2", "7153718@N04/1"]
    assert attributes(table) == [{"age": "(25, 32)", "gender": "f"}, {}, {}, {}]
    faces = samples.list_samples(f"adience={folder / 'faces'}")
    assert faces.identity.tolist() == table.identity.tolist()
    assert attributes(faces) == attributes(table)
    assert set(faces.database) == {"adience"}
    make(folder, "faces/7153718@N04/thumbnail.png")
    assert layouts.recognise(folder) == "adience"
    assert rejected(folder) == {"adience/faces/7153718@N04/thumbnail.png": "another"}
    make(folder, "aligned/7153718@N04/landmark_aligned_face.1.9733154143_2ee9f5ff9c_o.jpg")
    with pytest.raises(InputError, match="with both: name one"):
        samples.list_samples(str(folder))
    assert samples.list_samples(str(folder / "aligned")).identity.tolist() == ["7153718@N04/1"]
    (folder / "fold_0_data.txt").write_text(FOLD.replace("\t", ","))
    with pytest.raises(InputError, match="separated by tabs"):
        samples.list_samples(str(folder / "faces"))


def test_celeba(tmp_path: Path) -> None:
    folder = make(tmp_path / "celeba", *(f"img_align_celeba/00000{i}.jpg" for i in (1, 2, 3)))
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n000003.jpg 2880\n000004.jpg 1\n")
    assert samples.list_samples(str(folder)).identity.tolist() == ["2880", "2937", "2880"]
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n\n000002.jpg 2937\n")
    assert rejected(folder) == {"celeba/img_align_celeba/000003.jpg": "one without a person"}
    (folder / "identity_CelebA.txt").write_text("9.jpg 2880\n")
    with pytest.raises(InputError, match=r"usable images in .*one without a person .*000001\.jpg"):
        samples.list_samples(str(folder))
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg\n")
    with pytest.raises(InputError, match="line 2"):
        samples.list_samples(str(folder))


def test_gandiffface_at_any_depth(tmp_path: Path) -> None:
    folder = make(tmp_path / "gandiffface", "White_Male/7381461/49.png", "Asian_Female/7381461/1.png")
    table = samples.list_samples(str(folder))
    assert table.identity.tolist() == ["Asian_Female/7381461", "White_Male/7381461"]
    assert attributes(table)[0] == {"ethnicity": "Asian", "gender": "Female"}
    deep = make(tmp_path / "deep", "part1/images/7381461/49.png", "part2/images/7381461/49.png")
    # Nobody says that these are groups: parts of one database number people once.
    assert set(samples.list_samples(str(deep)).identity) == {"7381461"}


def test_utkface_even_where_its_names_are_broken(tmp_path: Path) -> None:
    names = [
        "25_0_1_20170116174525125.jpg.chip.jpg",
        "39_1_20170116174525125.jpg.chip.jpg",
        "53__0_20170116184028385.jpg.chip.jpg",
    ]
    folder = make(tmp_path / "utkface", *names)
    assert layouts.recognise(folder) == "utkface"
    table = samples.list_samples(str(folder))
    assert len(set(table.identity)) == 3
    expected = [{"age": "25", "gender": "0", "race": "1"}, {"age": "39", "gender": "1"}, {"age": "53", "race": "0"}]
    assert attributes(table) == expected


def test_lfw(tmp_path: Path) -> None:
    folder = make(tmp_path / "lfw", "Al_Gore/Al_Gore_0001.jpg", "Al_Gore/Al_Gore_0002.jpg", "Bo_Li/Bo_Li_0001.jpg")
    assert layouts.recognise(folder) == "lfw"
    assert samples.list_samples(str(folder)).identity.tolist() == ["Al_Gore", "Al_Gore", "Bo_Li"]
    assert layouts.recognise(make(tmp_path / "holiday", "Ann/1.jpg")) == "folders"


ELLIPSES = """2002/08/11/big/img_591
1
123.583300 85.549500 1.265839 269.693400 161.781200  1
2002/08/26/big/img_265
2
67.363819 44.511485 -1.476417 105.249970 87.209036  1
41.936870 27.064477 1.471906 184.070915 129.345601  1
"""


def test_fddb(tmp_path: Path) -> None:
    folder = make(tmp_path / "fddb", "originalPics/2002/08/11/big/img_591.jpg", "FDDB-folds/FDDB-fold-01.txt")
    folds = folder / "FDDB-folds"
    (folds / "FDDB-fold-01-ellipseList.txt").write_text(ELLIPSES)
    (folds / "FDDB-fold-02-ellipseList.txt").write_text("2003/01/13/big/img_1\n1\n30 20 0 50 60  1\n")
    assert layouts.recognise(folder) == "fddb"
    table = samples.list_samples(str(folder))
    assert len(np.unique(table.people())) == len(table) == 4
    assert table.location[0] == str(folder / "originalPics/2002/08/11/big/img_591.jpg")
    assert table.location[1] == table.location[2]
    np.testing.assert_allclose(table.box[3], [20, 40, 80, 80])
    angles = np.linspace(0, 2 * math.pi, 100_000)  # the obvious twin: walk along the ellipse
    a, b, t, x, y = 123.5833, 85.5495, 1.265839, 269.6934, 161.7812
    xs = x + a * np.cos(angles) * math.cos(t) - b * np.sin(angles) * math.sin(t)
    ys = y + a * np.cos(angles) * math.sin(t) + b * np.sin(angles) * math.cos(t)
    np.testing.assert_allclose(table.box[0], [xs.min(), ys.min(), xs.max(), ys.max()], rtol=1e-6)
    assert [row["fold"] for row in attributes(table)] == ["01", "01", "01", "02"]


@pytest.mark.parametrize("broken", ["2002/a\n2\n1 2 3 4 5  1\n", "2002/a\nmany\n", "2002/a\n1\n1 2 3\n", "2002/a\n"])
def test_fddb_broken(tmp_path: Path, broken: str) -> None:
    (tmp_path / "FDDB-folds").mkdir()
    (tmp_path / "FDDB-folds" / "FDDB-fold-01-ellipseList.txt").write_text(broken)
    with pytest.raises(InputError, match="the number of its faces, and an ellipse for each"):
        samples.list_samples(str(tmp_path))


NIST = (
    "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT,FRAME_NUM,FACIAL_HAIR,AGE,"
    "INDOOR_OUTDOOR,SKINTONE,GENDER,YAW,ROLL,OCC1\n"
)


def test_ijbc_from_nist(tmp_path: Path) -> None:
    """One photo of two subjects; a frame that two templates repeat."""
    root = make(tmp_path / "IJB" / "IJB-C", "images/img/1.jpg", "images/frames/9.png")
    (root / "protocols").mkdir()
    gallery = NIST + "1,20,img/1.jpg,5,10,20,30,40,,0,3,1,2,1,0,0,0\n1,20,frames/9.png,6,1,2,3,4,77,,,,,,,,\n"
    probe = NIST + "2,20,frames/9.png,6,1,2,3,4,77,,,,,,,,\n3,31,img/1.jpg,5,100.5,20,30,40,,,,,,,,,\n"
    (root / "protocols" / "ijbc_1N_gallery_G1.csv").write_text(gallery)
    (root / "protocols" / "ijbc_1N_probe_mixed.csv").write_text(probe)
    for folder in (tmp_path, tmp_path / "IJB", root):
        assert layouts.recognise(folder) == "ijb-c (nist)"
    table = samples.list_samples(f"ijbc={tmp_path}")
    assert table.sample_id.tolist() == ["ijbc/frames/9.png/20", "ijbc/img/1.jpg/20", "ijbc/img/1.jpg/31"]
    assert table.identity.tolist() == ["20", "20", "31"]
    np.testing.assert_array_equal(table.box, [[1, 2, 4, 6], [10, 20, 40, 60], [100.5, 20, 130.5, 60]])
    assert attributes(table)[0] == {"template_id": "1", "sighting_id": "6", "frame_num": "77"}
    (root / "protocols" / "ijbc_metadata.csv").write_text(NIST + "1,20,img/1.jpg,5,10,20,30,40,,0,3,1,2,1,0,0,0\n")
    assert len(samples.list_samples(str(root))) == 1
    odd = "1,2,img/1.jpg,5,ten,2,3,4\n1,3,img/1.jpg,5,,,,\n1,4,img/1.jpg\n1,5,../x,5,1,2,3,4\n1,6,img/1.jpg,5,1,2,3,4\n"
    (root / "protocols" / "ijbc_metadata.csv").write_text(NIST + odd)
    reasons = {"../x/5": "another", "img/1.jpg/2": "others", "img/1.jpg/3": "others", "img/1.jpg/4": "others"}
    assert rejected(root) == {f"IJB-C/{name}": reason for name, reason in reasons.items()}
    (root / "protocols" / "ijbc_metadata.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"without .*FACE_HEIGHT"):
        samples.list_samples(str(root))


def test_ijbc_from_insightface(tmp_path: Path) -> None:
    root = make(tmp_path / "IJBC", *(f"loose_crop/{i}.jpg" for i in range(1, 5)))
    (root / "meta").mkdir()
    points = " ".join(str(float(i)) for i in range(10))
    (root / "meta" / "ijbc_name_5pts_score.txt").write_text("".join(f"{i}.jpg {points} 0.99{i}\n" for i in range(1, 5)))
    (root / "meta" / "ijbc_face_tid_mid.txt").write_text("1.jpg 11 5\n2.jpg 11 6\n3.jpg 12 7\n4.jpg 13 8\n")
    assert layouts.recognise(root) == "ijb-c (insightface)"
    assert samples.list_samples(str(root)).identity.tolist() == ["template-11"] * 2 + ["template-12", "template-13"]
    (root / "meta" / "ijbc_template_pair_label.txt").write_text("11 12 1\n11 13 0\n")
    table = samples.list_samples(str(root))
    assert table.identity.tolist() == ["subject-11"] * 3 + ["template-13"]
    np.testing.assert_array_equal(table.landmarks[0], np.arange(10).reshape(5, 2))
    (root / "meta" / "ijbc_1N_gallery_G1.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n11,1,x\n12,2,x\n13,2,x\n")
    assert samples.list_samples(str(root)).identity.tolist() == ["1", "1", "2", "2"]
    (root / "meta" / "ijbc_face_tid_mid.txt").write_text("1.jpg 11 5\n2.jpg 11 6\n3.jpg 12 7\n")
    with pytest.raises(InputError, match="the same face in line 4"):
        samples.list_samples(str(root))


def test_plain_folders_with_names_of_any_kind(tmp_path: Path) -> None:
    folder = make(tmp_path / "holiday", "Zoë/ein bild.jpg", "Zoë/line\nbreak.png", "Zoë/#1.png", "train/x#5.JPG")
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    outside = make(tmp_path / "elsewhere", "1.png")
    (folder / "Linked").symlink_to(outside)
    table = samples.list_samples(str(folder))
    assert table.identity.tolist() == ["Linked", "Zoë", "Zoë", "Zoë", "train"]
    assert all(files.find(location).is_file() for location in table.location)


def test_lab_faces_keep_their_name() -> None:
    with pytest.raises(InputError, match="under their own name"):
        samples.list_samples("web=synthetic:1/web/0-1/1")


def test_a_table_of_ones_own_may_be_renamed(tmp_path: Path) -> None:
    image = np.full((20, 30, 3), 7, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "t.csv").write_text("sample_id,database,identity,location\n1,x,a,a.png\n2,x,b,a.png\n")
    table = samples.list_samples(f"mine={tmp_path / 't.csv'}")
    assert set(table.database) == {"mine"}
    np.testing.assert_array_equal(images.FaceReader().image(str(table.location[0])), image)
    (tmp_path / "t.csv").write_text("sample_id,database,identity,location\n1,x,a,a.png\n2,y,b,a.png\n")
    with pytest.raises(InputError, match="Expected one database to call mine"):
        samples.list_samples(f"mine={tmp_path / 't.csv'}")
