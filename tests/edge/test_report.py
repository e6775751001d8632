"""The report: self-contained, escaped, and the same numbers as the tables."""

import contextlib
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mint_keras.commands.score import Score, score
from mint_keras.data import images
from mint_keras.edge import report
from mint_keras.edge.bundle import FieldCalibration
from mint_keras.edge.judgement import Judgement
from mint_keras.records import InputError
from tests.edge.field import WORDING, photo, reference


class Tags(HTMLParser):
    """Collects tags with their attributes, and checks that they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(calibrated: Callable, bundle_folder: Path, tmp_path: Path) -> Callable[..., str]:
    def make(*paths: Path, **options: object) -> str:
        found = paths or (bundle_folder / "samples",)
        config = Score(calibrated(), tuple(map(str, found)), tmp_path / "out", quiet=True, **options)
        with contextlib.suppress(InputError):  # of files that cannot be read, after the others
            score(config)
        return (tmp_path / "out" / report.REPORT).read_text(encoding="utf-8")

    return make


def test_nothing_from_elsewhere_and_no_script(page: Callable) -> None:
    text = page()
    tags = Tags(text)
    assert tags.open == []
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in tags.tags}
    assert not re.search(r"(src|href)=|url\(|https?://", text)
    assert "default-src 'none'" in text


def test_names_are_escaped(page: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "<b onclick=alert(1)>"
    images.write_png(folder / "\"><script>alert('x')</script>.png".replace("/", "_"), np.zeros((112, 112, 3), np.uint8))
    (folder / "<i>.png").write_bytes(b"junk")
    text = page(folder)
    assert "&lt;script&gt;" in text
    assert not {"b", "i", "script"} & {tag for tag, _ in Tags(text).tags}


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_do_not_steer_the_terminal(bundle_folder: Path, tmp_path: Path) -> None:
    name = "a\n 0.9999 \x1b[31mé.png"
    images.write_png(tmp_path / "photos" / name, np.zeros((112, 112, 3), np.uint8))
    (tmp_path / "photos" / "b\r.png").write_bytes(b"junk")
    with pytest.raises(InputError) as caught:
        score(Score(bundle_folder, (str(tmp_path / "photos"),), quiet=True))
    assert "a\\x0a 0.9999 \\x1b[31mé.png" in caught.value.done
    assert all(character.isprintable() for character in caught.value.done.replace("\n", "") + str(caught.value))


def test_pictures_only_when_asked(page: Callable, detector: Path, tmp_path: Path) -> None:
    images.write_png(tmp_path / "photo.png", photo((20, 30), (200, 30)))
    text = page(tmp_path / "photo.png", detector=str(detector), pictures=True)
    shown = [attributes["src"] for tag, attributes in Tags(text).tags if tag == "img"]
    assert len(shown) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in shown)
    assert "20, 30, 80, 90" in text


def judged(logit: float, is_selected: bool) -> Judgement:
    return Judgement("a", "a", 1, 1, None, None, 0.5, logit, None, None, is_selected, "")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""),
        (0.0, "Nobody of 196 people"),
        (0.074, "Of 100 people who were not in the training data, about 7 score"),
        (0.002, "Of 1,000 people who were not in the training data, about 2 score"),
        (0.0004, "about 1 score"),
    ],
)
def test_a_rank_in_words(share: float | None, said: str) -> None:
    text = report.rank(share, 196)
    assert said in text
    assert bool(said) == bool(text)


def test_no_score_to_be_taken_for_a_probability(page: Callable) -> None:
    text = page()
    assert "Nobody of 199 people who were not in the training data scores as high." in text
    assert not re.search(r"\d\.\d{4,}", re.sub(r"<[^>]*>", "", text.partition("<body>")[2]))


def test_histogram_by_hand() -> None:
    people = {"a": [0.0, 0.0, 10.0], "b": [5.0]}
    calibration = FieldCalibration(reference(people, True), {}, None, WORDING)
    drawn = report.histogram(calibration, [judged(10.0, True), judged(0.0, False)])
    assert drawn is not None
    assert [(y, height) for _, y, _, height in drawn.bars] == [(0, 120), (60, 60), (60, 60)]
    (left, is_left), (right, is_right) = drawn.marks[1], drawn.marks[0]
    assert (is_left, is_right) == (False, True)
    assert 0 < left < 30
    assert 570 < right < 600
    assert report.histogram(None, []) is None


def test_a_histogram_of_one_value() -> None:
    calibration = FieldCalibration(reference({"a": [1.0]}, True), {}, None, WORDING)
    drawn = report.histogram(calibration, [judged(1.0, False)])
    assert drawn is not None
    assert len(drawn.bars) == 1
