"""The emotion network that others trained on FER2013, its photos, and what attacks look at; see `studies.fer2013`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
from scipy import sparse, special
from scipy.sparse import csgraph

from mint_keras import formats
from mint_keras.aad import pooling, signals
from mint_keras.audited import runtime, taps
from mint_keras.audited.runtime import FaceFunction
from mint_keras.borders import reading
from mint_keras.data import images, overlap, registration, samples
from mint_keras.records import Observations, Sample, SampleTable, tabulate
from mint_keras.scorers import log_odds
from mint_keras.scorers.attacks import LABEL, of_class
from mint_keras.scorers.baselines import OUTCOME, fit_logistic_regression
from mint_keras.scorers.contract import Fitted, Needs
from studies import arrays

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # in the order of the logits
DATABASE = "fer2013"
MEMBERS, PUBLIC, PRIVATE = "training", "public_test", "private_test"
PARTS = (MEMBERS, PUBLIC, PRIVATE)
MIRRORED = "mirrored"  # the logits of the mirrored photo, (n, classes); those of a reference begin so
_SIZE = 64  # pixels
# The last convolution of each of the four modules with its batch normalisation, and the logits before the softmax.
LAYERS = {
    "conv1": "batch_normalization_5",
    "conv2": "batch_normalization_8",
    "conv3": "batch_normalization_11",
    "conv4": "batch_normalization_14",
    OUTCOME: "global_average_pooling2d_1",
}


@dataclasses.dataclass(frozen=True)
class Photos:
    """Photos that were a member's or kept out.

    Attributes:
        table: The photos; near copies on one side are one person.
        faces: Their pixels, (n, 64, 64, 3), uint8.
        part: Which of `PARTS` they are of, (n,).
        copies: How many were left out of each part because the other side has a near copy, and how many near copies
            stay on one side.
    """

    table: SampleTable
    faces: np.ndarray
    part: np.ndarray
    copies: dict[str, int]

    @property
    def is_member(self) -> np.ndarray:
        """Which of the photos were trained on, (n,), bool."""
        return self.part == MEMBERS

    def draw(self, num: int, seed: int) -> Photos:
        """Returns as many photos of a side, drawn by lot; 0 returns all."""
        if not num:
            return self
        rng = np.random.default_rng(seed)
        sides = (np.flatnonzero(self.is_member), np.flatnonzero(~self.is_member))
        rows = np.sort(np.concatenate([rng.permutation(side)[:num] for side in sides]))
        return Photos(self.table.take(rows), self.faces[rows], self.part[rows], self.copies)

    @property
    def label(self) -> np.ndarray:
        """The number of each photo's class, (n,)."""
        return np.array([CLASSES.index(name) for name in samples.attribute(self.table, "class")])


def read_photos(data: Path, folder: Path) -> Photos:
    """Returns all photos in folders `PART/EMOTION`, without those that have a near copy on the other side.

    Which photos are copies of one another is kept in a folder.
    """
    files = [(part, path) for part in PARTS for path in sorted((data / part).glob("*/*.png"))]
    names = [f"{part}/{path.stem}" for part, path in files]
    listed = tabulate(
        Sample(f"{DATABASE}/{name}", DATABASE, name, str(path), attributes={"class": path.parent.name})
        for name, (_, path) in zip(names, files, strict=True)
    )
    rows, faces = images.read_faces(listed, images.Framing(_SIZE))
    table, part = listed.take(rows), np.array([files[row][0] for row in rows])

    def find() -> dict[str, np.ndarray]:
        rows, prints = np.arange(len(faces)), overlap.Fingerprints.of(faces)
        index = overlap.Index(rows, prints, registration.Scale.of(prints.rough), 1.0)
        found = index.search(rows, prints, overlap.comparing(registration.grey(faces, registration.FINE).__getitem__))
        pairs = overlap.Overlap.of([*overlap.equal_pairs(prints.digest), *found])
        pairs = overlap.Overlap(*(column[pairs.reason != overlap.REGISTERED] for column in pairs))
        edges = sparse.coo_array((np.ones(len(pairs.first), bool), pairs[:2]), (len(faces), len(faces)))
        return {"group": csgraph.connected_components(edges, directed=False)[1]}

    group = formats.kept(folder / "copies.npz", find, arrays.write, arrays.read)["group"]
    # Of both sides, or those who are left would differ in whether others are like them.
    on_both = np.isin(group, np.intersect1d(group[part == MEMBERS], group[part != MEMBERS]))
    first = np.unique(group, return_index=True)[1][group]
    copies = {name: int((on_both & (part == name)).sum()) for name in PARTS}
    copies["on one side"] = int((~on_both & (first != np.arange(len(first)))).sum())
    kept = np.flatnonzero(~on_both)
    table = dataclasses.replace(table, group=table.identity[first])
    return Photos(table.take(kept), faces[kept], part[kept], copies)


def open_checkpoint(path: Path) -> keras.Model:
    """Returns a checkpoint, HDF5 of Keras 2, with its taps as outputs: from (batch, 64, 64, 1) to maps and logits.

    Raises:
        InputError: if Keras cannot read it in safe mode, or it is another network.
    """
    with reading(f"mini-Xception in an HDF5 file of Keras, of built-in layers only, at {path}"):
        given = keras.saving.load_model(path, compile=False, safe_mode=True)
        network = keras.Model(given.inputs[0], given.outputs[0], name="mini_xception")
        return taps.with_taps(network, {tap: network.get_layer(name).output for tap, name in LAYERS.items()})


def normalise(faces: np.ndarray) -> np.ndarray:
    """Makes of grey faces, (n, 64, 64, 3), uint8, what the network takes, (n, 64, 64, 1), as its author does."""
    return (faces[..., :1].astype(np.float32) / 255.0 - 0.5) * 2.0


def face_function(model: keras.Model) -> FaceFunction:
    """Returns what attacks look at: maxima of the modules, distances of batch normalisation, logits, and `MIRRORED`."""
    cut = pooling.pooled(taps.extractor(model, list(LAYERS)), (pooling.MAX,))
    whole = runtime.forward(signals.with_bn_distance(cut, model))
    short = runtime.forward(taps.extractor(model, [OUTCOME]))

    def look(faces: np.ndarray) -> dict[str, np.ndarray]:
        return {**whole(normalise(faces)), MIRRORED: short(normalise(faces[:, :, ::-1]))[OUTCOME]}

    return look


@dataclasses.dataclass(frozen=True)
class Joint:
    """Logistic regression on all log-odds and losses of the true class, and the class; see `scorers.contract.Scorer`.

    These are of the photo and of its mirror image, through the checkpoint and those before it that were observed.
    """

    name: ClassVar[str] = "joint"
    tap: ClassVar[str] = OUTCOME
    needs: ClassVar[Needs] = Needs((OUTCOME,))

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns from photos whose membership is known; nothing about it is random."""
        del seed

        def given(shown: Observations) -> Observations:
            networks = [OUTCOME, *log_odds.references(shown)]
            mirrored = [name for name in shown.arrays if name.startswith(MIRRORED)]
            odds = [of_class(np.asarray(shown[name], np.float64), shown[LABEL]) for name in networks + mirrored]
            is_class = np.eye(len(CLASSES))[shown[LABEL]]
            columns = [*odds, *map(special.log_expit, odds), is_class, is_class * odds[0][:, None]]
            return Observations(shown.table, {self.name: np.column_stack(columns)})

        fitted = fit_logistic_regression(self.name, given(seen), is_member)
        return lambda shown: fitted(given(shown))


@dataclasses.dataclass(frozen=True)
class ClassAlone:
    """Logistic regression on the class, which sees neither photo nor network; see `scorers.contract.Scorer`."""

    name: ClassVar[str] = "class alone"
    tap: ClassVar[str] = "pixels"
    needs: ClassVar[Needs] = Needs(has_pixels=True)

    def fit(self, seen: Observations, is_member: np.ndarray, seed: int = 1) -> Fitted:
        """Learns which classes members have more often."""
        del seed

        def given(shown: Observations) -> Observations:
            return Observations(shown.table, {LABEL: np.eye(len(CLASSES))[shown[LABEL]]})

        fitted = fit_logistic_regression(LABEL, given(seen), is_member)
        return lambda shown: fitted(given(shown))
