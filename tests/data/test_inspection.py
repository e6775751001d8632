"""Counts of a database against those that were published."""

from mint_keras.data import inspection, layouts


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
