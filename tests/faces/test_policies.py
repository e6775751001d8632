"""Boxes of turned photos."""

import numpy as np
import pytest

from mint_keras.data import decoding
from mint_keras.faces import policies
from mint_keras.faces.scrfd import Detections
from mint_keras.records import InputError

SHAPE = (250, 500, 3)
FACES = Detections(np.array([[72.0, 65, 152, 189], [317, 58, 418, 192]]), np.array([0.8, 0.8]), None)


def test_a_box_on_stored_pixels_is_refused_where_it_fits_better() -> None:
    policies.check_upright(FACES, SHAPE, FACES.boxes[1], 6, 0.3)
    # The same face on the pixels as they are stored: the photo is turned back.
    stored = decoding.turn_box(FACES.boxes[1], (500, 250, 3), 8)
    np.testing.assert_array_equal(decoding.turn_box(stored, SHAPE, 6), FACES.boxes[1])
    with pytest.raises(InputError, match="Expected a box on the upright photo"):
        policies.check_upright(FACES, SHAPE, stored, 6, 0.3)
    policies.check_upright(FACES, SHAPE, stored, 1, 0.3)
    assert policies.choose(FACES, SHAPE, "largest", FACES.boxes[0]) == 0
