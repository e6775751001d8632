"""The cards of models/cards say what can be checked, and the checks are right."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from mint_keras import formats
from mint_keras.audited import cards, iresnet, taps, zoo
from mint_keras.audited.cards import ARCFACE, Preprocessing
from mint_keras.records import InputError

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "models"


def test_the_papers_models_have_cards() -> None:
    assert {"fr1", "fr2", "fr3", "antelopev2", "buffalo_l", "lab"} <= set(cards.card_names())
    for name, database in (("fr1", "MS1MV3"), ("fr2", "Glint360K"), ("fr3", "Glint360K")):
        card = cards.load_card(name)
        assert card.about["paper"] == f"FR Model {name[-1]}"
        assert card.about["training"]["database"] == database
        assert card.preprocessing == ARCFACE
        assert card.about["published"]["IJB-C TAR at FAR 1e-4"] > 96


@pytest.mark.parametrize("name", ["fr1", "fr2", "fr3", "antelopev2", "buffalo_l"])
def test_structures_are_those_of_our_networks(name: str) -> None:
    card = cards.load_card(name)
    arch = "r50" if name == "buffalo_l" else "r100"
    assert card.blocks == iresnet.ARCHITECTURES[arch].blocks
    widths = iresnet.ARCHITECTURES[arch].widths
    for i, width in enumerate(widths, start=1):
        assert card.taps[f"conv{i}"] == card.taps[f"stage{i}"] == (112 // 2**i, 112 // 2**i, width)
    assert card.taps["outcome"] == (512,)


def test_every_card_is_complete() -> None:
    page = (ROOT / "models" / "README.md").read_text()
    for name in cards.card_names():
        card = cards.load_card(name)
        assert len(card.title) > 10
        assert f"`{name}`" in page, f"models/README.md lists {name}"
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in card.sha256)
        if card.blocks:
            assert len(card.blocks) == 4


def test_the_labs_card_is_of_the_committed_model() -> None:
    card = cards.load_card("lab")
    model = zoo.load_audited(ROOT / "models" / "lab")
    assert card.sha256 == (formats.sha256_file(ROOT / "models" / "lab" / formats.MODEL),)
    assert {tap: tuple(tensor.shape[1:]) for tap, tensor in taps.tap_tensors(model).items()} == card.taps
    assert cards.find_card(card.sha256[0]) == card
    assert cards.find_card("0" * 64) is None


@pytest.mark.skipif(not DATA.is_dir(), reason="no real models beside the project (../shared/data/models)")
def test_real_files_are_found_by_their_sha256() -> None:
    for path in sorted(DATA.glob("*.onnx")):
        card = cards.find_card(formats.sha256_file(path))
        assert card is not None
        assert card.name == path.stem


def test_a_card_of_your_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: t\nlicence: l\nget: g\npreprocessing: {mean: [1, 2, 3], std: 4}\n")
    card = cards.load_card(str(path))
    assert card.preprocessing == Preprocessing((1, 2, 3), (4, 4, 4))
    np.testing.assert_allclose(card.preprocessing.apply(np.array([[5, 6, 7]])), [[1, 1, 1]])
    turned = dataclasses.replace(card.preprocessing, bgr=True)
    np.testing.assert_allclose(turned.apply(np.array([[5, 6, 11]])), [[2, 1, 1]])


GOOD = "title: t\nlicence: l\nget: g\npreprocessing: {mean: 0, std: 1}\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: t\n", "Expected a card with"),
        ("- a\n", "received list"),
        ("a: [", "Expected YAML"),
        (GOOD + "sha: x\n", "received .*'sha'"),
        (GOOD + "sha256: [abc]\n", "sha256"),
        (GOOD + "taps: [1]\n", "models/README.md"),
        (GOOD.replace("std: 1", "std: 0"), "std"),
        (GOOD.replace("mean: 0", "mean: [1, 2]"), "red, green and blue"),
        (GOOD.replace("title: t", "title: !!python/object/apply:os.system ['touch x']"), "Expected YAML"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        cards.load_card(str(path))


def test_an_unknown_card_lists_the_known(tmp_path: Path) -> None:
    for name in ("fr9", str(tmp_path / "none.yaml"), "../lab/card", ""):
        with pytest.raises(InputError, match=r"one of .*'fr1'"):
            cards.load_card(name)
