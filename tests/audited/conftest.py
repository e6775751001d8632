"""How networks are run where that does not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from mint_keras.audited import runtime


@pytest.fixture(scope="module")
def untraced() -> Iterator[None]:
    """Networks that see a batch or two are run layer by layer; that their graphs give the same is tested elsewhere."""

    def forward(model: keras.Model, xla: bool = False) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            return {name: np.asarray(v) for name, v in model(tf.constant(images, tf.float32), training=False).items()}

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "forward", forward)
        yield
