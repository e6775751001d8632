"""Sides whose faces differ in size are said to; alike ones and faces of nobody knows where are not."""

from pathlib import Path

import numpy as np

from mint_keras import formats
from mint_keras.data import protocol as protocols
from mint_keras.data import sample_tables
from mint_keras.records import Sample, SampleTable, concatenate_tables, tabulate
from mint_keras.runs import face_quality


def prepared(folder: Path, name: str, num: int, size: float) -> SampleTable:
    """As prepare_faces.py leaves it; sizes vary by a tenth, and turns do not differ."""
    rng = np.random.default_rng(1)
    rows = [Sample(f"{name}/{k}", name, str(k), f"crops/000000/{k:09d}.png") for k in range(num)]
    extra = {"size": size * rng.uniform(0.9, 1.1, num), "turn": rng.normal(0, 5, num)}
    sample_tables.write_samples(folder / formats.SAMPLES, tabulate(rows), extra)
    formats.write_json(folder / formats.MANIFEST, formats.make_manifest(formats.PREPARED_FACES, {}, {}))
    return sample_tables.read_samples(folder / formats.SAMPLES)


def protocol(members: SampleTable, others: SampleTable) -> protocols.Protocol:
    part = np.repeat([protocols.TEST_MEMBERS, protocols.TEST_EXTERNALS], [len(members), len(others)])
    return protocols.Protocol(concatenate_tables([members, others]), part, protocols.UNSEEN_DATABASE, 1)


def test_what_differs_is_said(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    large, small = prepared(tmp_path / "a", "a", 40, 200), prepared(tmp_path / "b", "b", 30, 40)
    (line,) = face_quality.compare(protocol(large, small))
    assert "unseen database" in line
    assert "size of the face in its photo (pixels): medians " in line
    assert "AUC 1.000" in line
    assert not face_quality.compare(protocol(large, prepared(tmp_path / "c", "c", 40, 200)))
    assert not face_quality.compare(protocol(large, small.take(np.arange(10))))  # too few to say


def test_a_table_of_somebody_else_is_not_asked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    sides = prepared(tmp_path / "a", "a", 40, 200), prepared(tmp_path / "b", "b", 30, 40)
    for name in ("a", "b"):
        (tmp_path / name / formats.MANIFEST).unlink()
    assert not face_quality.compare(protocol(*sides))


def test_of_other_faces_nothing_is_known(tmp_path: Path) -> None:
    table = tabulate(
        [Sample("a", "db", "Ann", "synthetic:1/web/0/0"), Sample("b", "db", "Bob", str(tmp_path / "b.png"))]
    )
    assert all(np.isnan(column).all() for column in face_quality.read(table).values())
