"""Who is who in the layouts that databases are published in."""

from pathlib import Path

import pytest

from mint_keras.data import samples
from mint_keras.records import InputError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_adience(tmp_path: Path) -> None:
    """Two people in one user's album, one of them twice; fold files beside the pictures."""
    folder = make(
        tmp_path / "adience",
        "faces/30601258@N03/coarse_tilt_aligned_face.1.10399646885_67c7d20df9_o.jpg",
        "faces/30601258@N03/coarse_tilt_aligned_face.2.10424815813_e94629b1ec_o.jpg",
        "faces/30601258@N03/coarse_tilt_aligned_face.2.10437979845_5985be4b26_o.jpg",
        "faces/7153718@N04/coarse_tilt_aligned_face.1.9733154143_2ee9f5ff9c_o.jpg",
        "fold_0_data.txt",
    )
    table = samples.list_samples(str(folder))
    assert table.identity.tolist() == ["30601258@N03/1", "30601258@N03/2", "30601258@N03/2", "7153718@N04/1"]
    assert samples.list_samples(str(folder / "faces")).identity.tolist() == table.identity.tolist()
    make(folder, "aligned/7153718@N04/landmark_aligned_face.1.9733154143_2ee9f5ff9c_o.jpg")
    with pytest.raises(InputError, match="with both: name one"):
        samples.list_samples(str(folder))
    assert samples.list_samples(str(folder / "aligned")).identity.tolist() == ["7153718@N04/1"]


def test_celeba(tmp_path: Path) -> None:
    folder = make(tmp_path / "celeba", *(f"img_align_celeba/00000{i}.jpg" for i in (1, 2, 3)))
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n000003.jpg 2880\n000004.jpg 1\n")
    assert samples.list_samples(str(folder)).identity.tolist() == ["2880", "2937", "2880"]
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n\n000002.jpg 2937\n")
    with pytest.raises(InputError, match=r"1 without a person: \['img_align_celeba/000003.jpg'\]"):
        samples.list_samples(str(folder))
    (folder / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg\n")
    with pytest.raises(InputError, match="line 2"):
        samples.list_samples(str(folder))


def test_folders(tmp_path: Path) -> None:
    generated = make(tmp_path / "gandiffface", "White_Male/7381461/49.png", "Asian_Female/7381461/1.png")
    assert samples.list_samples(str(generated)).identity.tolist() == ["Asian_Female/7381461", "White_Male/7381461"]
    flat = make(tmp_path / "utkface", "25_0_1_20170116174525125.jpg.chip.jpg", "26_1_0_20170116174525126.jpg.chip.jpg")
    assert len(set(samples.list_samples(str(flat)).identity)) == 2
