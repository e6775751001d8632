"""The audited model, and its untrained copy, as functions from faces to what the taps give."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mint_keras.aad import pooling, signals
from mint_keras.audited import backends, engines, iresnet, recalibration, runtime, taps, zoo
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images
from mint_keras.records import AUDITED, UNTRAINED


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that a worker needs to know of the models.

    Attributes:
        audited: Folder of the audited model.
        taps: What to keep.
        poolings: What to keep of maps in place of them, see `pooling.pooled`; none keeps the maps.
        signals: What else to keep, for baselines, see `signals.available`.
        untrained_seed: Seed of an untrained copy, the control that every run of heads wants; None makes no copy.
        precision: Type in which maps are computed, see `backends.open_forward`.
        backend: Who runs the models; `runtime.AUTO` leaves it to `settle`.
        xla: Whether they are compiled.
    """

    audited: Path
    taps: tuple[str, ...]
    poolings: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    untrained_seed: int | None = None
    precision: str = runtime.FLOAT32
    backend: str = backends.KERAS
    xla: bool = False

    @property
    def engine(self) -> engines.Engine:
        """Who runs the models."""
        return engines.Engine(self.backend, self.xla)

    def settings(self) -> dict[str, Any]:
        """Returns what of it decides the bytes of a store, for its manifest."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "audited"}


def load(spec: ModelSpec) -> dict[str, keras.Model]:
    """Returns the models by name, whole; from here on float32 is exact on GPUs too."""
    runtime.exact_float32()
    models = {AUDITED: zoo.load_audited(spec.audited, zoo.kind_of(spec.audited))}
    if spec.untrained_seed is not None:
        models[UNTRAINED] = recalibration.copy_without_faces(models[AUDITED], spec.taps, spec.untrained_seed)
    return models


def extractors(spec: ModelSpec, models: Mapping[str, keras.Model]) -> dict[str, keras.Model]:
    """Cuts the models behind the deepest tap, pools what the taps give, and adds the signals that a graph can give."""
    # What is behind that tap is dead code: cut at conv1, an R100 takes 2.15 GFLOPs a face in place of 24.
    cut = {name: pooling.pooled(taps.extractor(model, spec.taps), spec.poolings) for name, model in models.items()}
    if signals.BN_DISTANCE not in spec.signals:
        return cut
    # With the taps, in one graph, so that a store, a resumed run and evaluate_mint.py give the same rows.
    return {name: signals.with_bn_distance(extractor, models[name]) for name, extractor in cut.items()}


def settle(
    spec: ModelSpec, cut: Mapping[str, keras.Model], faces: np.ndarray, num_faces: int
) -> tuple[ModelSpec, dict[str, Any], engines.Forwards | None]:
    """Decides who runs the models where that is left open (`runtime.AUTO`), from some of so many faces.

    Returns:
        The spec with its backend, what is to be kept of the choice, see `engines.Choice.facts`, and the open models.
    """
    if spec.backend == runtime.AUTO and (spec.precision != runtime.FLOAT32 or spec.xla):  # which only Keras has
        spec = dataclasses.replace(spec, backend=backends.KERAS)
    if spec.backend != runtime.AUTO:
        return spec, {"engine": spec.engine._asdict()}, None
    passes = num_faces * len(cut) * (signals.NUM_PASSES if signals.STABILITY in spec.signals else 1)
    choice = engines.choose(cut, iresnet.normalise(faces), passes)
    return dataclasses.replace(spec, **choice.engine._asdict()), choice.facts(), choice.forwards


def face_functions(
    spec: ModelSpec, cut: Mapping[str, keras.Model], forwards: engines.Forwards | None = None
) -> dict[str, FaceFunction]:
    """Makes functions from uint8 faces of the extractors; opens these in their precision, by their backend.

    Raises:
        RefusedError: If the backend does not give the numbers of Keras' float32 here.
    """
    if forwards is None and spec.precision == runtime.FLOAT32:
        forwards = engines.exact(cut, spec.engine)
    elif forwards is None:
        devices = runtime.strategy()
        forwards = {
            name: backends.open_forward(extractor, spec.precision, spec.backend, spec.xla, devices)
            for name, extractor in cut.items()
        }

    def of(forward: runtime.Forward) -> FaceFunction:
        def function(faces: np.ndarray) -> dict[str, np.ndarray]:
            return forward(iresnet.normalise(faces))

        return signals.with_stability(function) if signals.STABILITY in spec.signals else function

    return {name: of(forwards[name]) for name in cut}


def keep_pixels() -> dict[str, FaceFunction]:
    """Returns what a store of faces for live heads is made with."""
    return {images.PIXELS: lambda faces: {images.PIXELS: faces}}
