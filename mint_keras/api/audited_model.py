"""Audited models as a Python user meets them: a folder, a file that somebody else's tool wrote, or a Keras model."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np

from mint_keras import formats, shelf
from mint_keras.audited import engines, iresnet, recalibration, zoo
from mint_keras.audited import taps as taps_module
from mint_keras.data import images
from mint_keras.records import InputError, Observations

_MEASURED = 32  # faces at most


@dataclasses.dataclass(frozen=True)
class AuditedModel:
    """A model under audit.

    Attributes:
        name: How results call it.
        network: The Keras model, from scaled images to whatever it gives.
        taps: The inner outputs that can be looked at; the last is "outcome", the embedding.
        framing: What images become before they are shown to it.
        normalise: Makes of uint8 faces, (n, size, size, 3), what the network takes.

    Example:
        >>> load_model("lab").taps[-1]
        'outcome'
    """

    name: str
    network: keras.Model = dataclasses.field(repr=False)
    taps: tuple[str, ...]
    framing: images.Framing
    normalise: Callable[[np.ndarray], np.ndarray] = iresnet.normalise
    # Chosen when faces are first shown, and kept for all: who is compared has gone through one engine.
    _engine: list[engines.Engine] = dataclasses.field(default_factory=list, repr=False, compare=False)

    def opener(self, faces: Observations, num_passes: int) -> engines.Opener:
        """Returns what opens the network for some faces, each of which passes through it so many times."""
        given = faces.arrays.get(images.PIXELS)
        some = images.first_faces(faces.table, _MEASURED, self.framing) if given is None else given[:_MEASURED]
        shown = self.normalise(np.stack([self.framing.apply(face) for face in some]))
        return engines.opener(self._engine, shown, len(faces) * num_passes)

    def untrained(self, faces: np.ndarray, seed: int) -> Self:
        """Returns the same network with fresh random weights, normalised to faces, (n, size, size, 3), uint8."""
        copy = recalibration.recalibrated_copy(self.network, faces, seed, self.normalise)
        return dataclasses.replace(self, name=f"untrained_{seed}", network=copy)


@functools.cache
def _engine_of(folder: Path, modified: int) -> list[engines.Engine]:
    """Returns where the engine of a folder's network is kept: opened twice, it still goes through one."""
    return []


def load_model(
    source: str | Path | keras.Model,
    taps: Mapping[str, str] | Sequence[str] = (),
    outcome: str = "",
    normalise: Callable[[np.ndarray], np.ndarray] = iresnet.normalise,
) -> AuditedModel:
    """Opens an audited model.

    Args:
        source: A folder of `mint convert` or `mint train-audited`; a name of the shelf ("lab", "lab2", "lab3",
            "dlib"); or a Keras model of square RGB images.
        taps: The layers of a Keras model to look at: their names, or {tap: layer}. Folders have taps already.
        outcome: The layer of a Keras model that gives the embedding; by default its last layer.
        normalise: Makes of uint8 images what a Keras model takes; by default (x - 127.5) / 127.5.

    Raises:
        InputError: if there is no such model, or no such layer.

    Example:
        >>> layers = keras.layers
        >>> pixels = keras.Input((32, 32, 3))
        >>> maps = layers.Conv2D(16, 3, name="first")(pixels)
        >>> network = keras.Model(pixels, layers.Dense(8, name="embedding")(layers.Flatten()(maps)))
        >>> load_model(network, taps=["first"]).taps
        ('first', 'outcome')
    """
    if not isinstance(source, keras.Model):
        folder = shelf.find(Path(source))
        network = zoo.load_audited(folder, zoo.kind_of(folder))
        kept = _engine_of(folder.resolve(), (folder / formats.MODEL).stat().st_mtime_ns)
        return AuditedModel(folder.name, network, _known(network), zoo.framing(folder), _engine=kept)
    received = getattr(source, "input_shape", None)  # a model that was never called has none
    shape = received[1:] if isinstance(received, tuple) else ()
    if len(shape) != 3 or shape[0] is None or shape[0] != shape[1] or shape[2] != 3:
        raise InputError(f"Expected a Keras model of square RGB images of a fixed size, received one of {received}.")
    network = source
    if taps:
        named = dict(taps) if isinstance(taps, Mapping) else {layer: layer for layer in taps}
        known = [layer.name for layer in source.layers]
        named[taps_module.OUTCOME] = outcome or source.layers[-1].name
        if unknown := sorted(set(named.values()) - set(known)):
            raise InputError(f"Expected layers of {source.name!r}, {known}, received {unknown}.")
        network = _with_taps(source, named)
    return AuditedModel(source.name, network, _known(network), images.Framing(int(shape[0])), normalise)


def _with_taps(source: keras.Model, named: Mapping[str, str]) -> keras.Model:
    """Returns a copy of a network whose taps are outputs; a layer that bears a tap's name gets another one."""

    def copy(layer: keras.Operation) -> keras.Operation:
        config = layer.get_config()
        return layer.__class__.from_config({**config, "name": f"{layer.name}_layer"})

    # As a graph of layers, which a Sequential model is not.
    network = keras.models.clone_model(keras.Model(source.inputs[0], source.outputs), clone_function=copy)
    network.set_weights(source.get_weights())
    tensors = {tap: network.get_layer(f"{name}_layer").output for tap, name in named.items()}
    return taps_module.with_taps(network, tensors)


def convert(
    weights: str | Path,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    bgr: bool | None = None,
    pixels: str = "",
) -> AuditedModel:
    """Converts a model of somebody else's in memory; `mint convert` also proves every tap against its own runtime.

    Args:
        weights: An ONNX, Keras or TFLite file, a SavedModel, a checkpoint of arcface_torch, or a folder in
            insightface's layout.
        mean: How it wants its pixels, 0..255, one number or red, green, blue; by default what the file tells.
        std: Standard deviations in the same way.
        bgr: Whether it takes blue, green, red; by default it takes red, green, blue.
        pixels: All three by the name that `mint verify` has for them, such as "RGB, 0..1".

    Raises:
        InputError: if it cannot be converted.

    Example:
        >>> convert("README.md")
        Traceback (most recent call last):
        mint_keras.records.InputError: ...
    """
    from mint_keras.audited import cards
    from mint_keras.audited.convert import sources

    source, name = sources.open_source(Path(weights)), Path(weights).stem
    card = cards.find_card(formats.sha256_file(source.files[0]))
    preprocessing, _ = source.choose_preprocessing(card, pixels, tuple(mean), tuple(std), bgr)
    converted = source.to_keras(preprocessing, None, "".join(c if c.isalnum() else "_" for c in name))
    chosen = {tap: converted.tensors[place].tensor for tap, place in converted.choose_taps(()).items()}
    network = taps_module.with_taps(converted.model, chosen)
    return AuditedModel(name, network, _known(network), images.Framing(int(network.input.shape[1])))


def _known(network: keras.Model) -> tuple[str, ...]:
    names = [tap for tap in taps_module.tap_tensors(network) if tap != taps_module.OUTCOME]
    return (*names, taps_module.OUTCOME)
