"""The lab model's own way of scaling pixels is told from all others."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mint_keras import shelf
from mint_keras.audited import cards, conventions, embedding
from mint_keras.auditing import pixel_ranking
from mint_keras.data import images, pairs, synthetic


@pytest.mark.usefixtures("filled_to_eight")
def test_the_lab_model_tells_how_it_was_trained() -> None:
    """By its first normalisation, on faces it never saw; a model built for other pixels is found out."""
    table = synthetic.sample_table("synthetic:1/web/200-231/2")
    _, faces = images.read_faces(table, images.FACE)
    encoded = [cv2.imencode(".png", face[:, :, ::-1])[1].tobytes() for face in faces]
    first = np.arange(0, 64, 2)
    rows = np.concatenate([first, first])
    shifted = np.concatenate([first + 1, np.roll(first, 2)])
    table_of_pairs = pairs.Pairs(rows, shifted, np.repeat([True, False], 32), np.arange(64) % 2, encoded)
    model = embedding.open_model(Path(shelf.LAB))
    ranked = pixel_ranking.rank(model, table_of_pairs, 32)
    assert ranked["built"] == ranked["ranking"][0]["name"] == "RGB, -1..1"
    assert ranked["is_right"]
    assert "is the right one" in pixel_ranking.describe(ranked)[-1]
    moments, running = model.moments or (None, None)

    def converted_for_others(pixels: np.ndarray) -> np.ndarray:
        return moments(conventions.shown(pixels, cards.UNIT, cards.ARCFACE))

    other = model._replace(pixels=cards.UNIT, moments=(converted_for_others, running))
    wrong = pixel_ranking.rank(other, table_of_pairs, 32)
    assert (wrong["built"], wrong["ranking"][0]["name"]) == ("RGB, 0..1", "RGB, -1..1")
    assert wrong["is_wrong"]
    assert "is wrong: RGB, -1..1 does better" in pixel_ranking.describe(wrong)[-1]
