"""What a search leaves on disk, and what protocols take from it."""

from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.data import overlap, overlap_files, synthetic
from mint_keras.records import InputError, RefusedError


def test_what_is_written_is_left_out(tmp_path: Path) -> None:
    """Of people 0 to 3 with two photos each: one photo of person 1 goes, and person 2 with all photos."""
    table = synthetic.sample_table("synthetic:1/web/0-3/2")
    found = overlap.Overlap(np.array([0]), np.array([3]), np.array([overlap.EXACT]), np.array([np.nan]))
    report = {"planted": {}, "audited": None, "databases": {formats.sha256_table(table): "lab"}}
    with formats.output_folder(tmp_path / "scan", formats.make_manifest(formats.OVERLAP, {}, {})):
        counts = overlap_files.write_found(tmp_path / "scan", table, found, np.array([3, 4]), np.array([4]))
        formats.write_json(tmp_path / "scan" / formats.OVERLAP_REPORT, report)
    assert counts == {"excluded_samples": 2, "excluded_identities": 1}
    scan = overlap_files.read_scan(tmp_path / "scan", [table])
    assert table.take(~scan.names(table, table)).sample_id.tolist() == table.sample_id[[0, 1, 2, 6, 7]].tolist()
    assert scan.summary(8) == {
        "left_out": 2, "left_out_people": 1, "num_samples": 8, "missed_at_most": None, "by_embedding": False,
        "within": True,
    }  # fmt: skip
    assert not scan._replace(report={**report, "within": False}).summary(8)["within"]
    with pytest.raises(RefusedError, match=r"has not searched \['web'\]"):
        overlap_files.read_scan(tmp_path / "scan", [table.take(np.arange(3))])


def test_published_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes('\ufeff"a/1.png", b/2.png;c\n\n ,\nd\te\n'.encode())
    assert overlap_files.read_known(tmp_path / "list.csv") == [["a/1.png", "b/2.png", "c"], ["d", "e"]]
    with pytest.raises(InputError, match="Expected text"):
        overlap_files.read_known(tmp_path / "none.csv")
