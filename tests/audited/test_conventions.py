"""A model sees pixels as if it scaled them otherwise, and the usual ways have names."""

import dataclasses

import numpy as np
import pytest

from mint_keras.audited import cards, conventions

BLUE_FIRST = cards.Preprocessing((10.0, 20.0, 30.0), (2.0, 3.0, 4.0), bgr=True)


@pytest.mark.parametrize("built", [cards.ARCFACE, BLUE_FIRST, cards.RAW])
@pytest.mark.parametrize("wanted", [cards.UNIT, BLUE_FIRST, conventions.IMAGENET])
def test_a_model_sees_what_another_scaling_gives(built: cards.Preprocessing, wanted: cards.Preprocessing) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3), np.uint8)
    seen = built.apply(conventions.shown(pixels, wanted, built))
    np.testing.assert_allclose(seen, wanted.apply(pixels), rtol=1e-4, atol=1e-4)


def test_what_a_model_was_built_for_is_among_the_candidates() -> None:
    insightface = cards.Preprocessing((127.5,) * 3, (128.0,) * 3)
    assert next(iter(conventions.candidates(insightface))) == "RGB, -1..1"
    assert len(conventions.candidates(insightface)) == 8
    assert next(iter(conventions.candidates(dataclasses.replace(cards.RAW, bgr=True)))) == "BGR, 0..255"
    assert next(iter(conventions.candidates(BLUE_FIRST))) == "as converted"
