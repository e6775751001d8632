"""Counts of a database against those that were published."""

from pathlib import Path

import numpy as np

from mint_keras.data import images, inspection, layouts, samples


def test_published_counts() -> None:
    counts = {"layout": "celeba", "images": 202_599, "identities": 10_177}
    assert inspection.compare(counts) == ["  CelebA: 202,599 images as published (CelebA, README)"]
    (line,) = inspection.compare({**counts, "identities": 3})
    assert "but 10,177 identities were published" in line
    (line,) = inspection.compare({**counts, "images": 9})
    assert line == "  none of the published counts (CelebA 202,599)"
    assert not inspection.compare({**counts, "layout": layouts.FOLDERS})
    first, *_ = inspection.compare({**counts, "layout": layouts.RECORDIO, "images": 5_179_510, "property_classes": 5})
    assert "property says 5 identities, the labels 10,177" in first


def test_huge_photos_are_shown_small(tmp_path: Path) -> None:
    images.write_png(tmp_path / "Ann" / "1.png", np.full((3000, 1500, 3), 7, np.uint8))
    images.write_png(tmp_path / "Ann" / "2.png", np.full((40, 30, 3), 9, np.uint8))
    counts, shown, _ = inspection.look(samples.list_samples(str(tmp_path)), 0, 5, 1)
    assert counts["sizes"] == {"1500x3000": 1, "30x40": 1}
    assert sorted(image.shape for image in shown) == [(40, 30, 3), (512, 256, 3)]
    assert images.shrunk(np.zeros((2, 5000, 3), np.uint8), 512).shape == (1, 512, 3)
