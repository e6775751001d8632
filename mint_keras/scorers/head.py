"""The paper's heads as scorers: trained on what the taps gave, or on faces with the audited model in front."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from mint_keras import formats, streams
from mint_keras.aad import pooling
from mint_keras.audited import runtime
from mint_keras.audited.taps import OUTCOME
from mint_keras.data import images
from mint_keras.heads import specs
from mint_keras.records import AUDITED, InputError, Labelled, Observations, ResultRow, Scores
from mint_keras.scorers.contract import Calibration, Needs, as_truth, calibration_of
from mint_keras.statistics.figures import summarise
from mint_keras.training import batches, checkpoints, fit_heads, together

# How often a head that died is trained again, and on how many samples that shows.
_RETRIES = 3
_PROBES = 256


@dataclasses.dataclass(frozen=True)
class Head:
    """A MINT model that is not trained yet; see `scorers.contract.Scorer`.

    Attributes:
        name: What it is built like, a key of `heads.specs.HEADS`: "vanilla", "cnn" or one of the paper's Table 7.
        taps: What it looks at.
        tap: How its scores name that, for example "combination"; by default the taps, joined by "+".
        pooling: What a vanilla head takes of every channel, a key of `aad.pooling.POOLINGS`; the others take maps.
        literal: Whether the head is exactly as the paper prints it: vanilla without standardised inputs, cnn heads
            without a warm-up, and trained once even if they die.
        precision: The precision of its training, see `training.fit_heads.place_head`.
        xla: Whether its training is compiled; the same seed then no longer gives the same digits.

    Example:
        >>> from mint_keras.records import Sample, tabulate
        >>> table = tabulate([Sample(str(row), "web", str(row), "") for row in range(160)])
        >>> seen = Observations(table, {"conv1_max": np.random.default_rng(1).normal(size=(160, 4)).astype(np.float32)})
        >>> is_member = np.arange(160) < 80
        >>> head = Head("vanilla", taps=("conv1",)).fit(seen, is_member)
        >>> 0 <= head.evaluate(seen, is_member).accuracy <= 1
        True
    """

    name: str = "vanilla"
    taps: tuple[str, ...] = ("conv1", "conv2", "conv3", "conv4")
    tap: str = ""
    pooling: str = pooling.MAX
    literal: bool = False
    precision: str = runtime.FLOAT32
    xla: bool = False

    def __post_init__(self) -> None:
        # A list is what one types; a recipe is compared and hashed.
        object.__setattr__(self, "taps", tuple(self.taps))
        object.__setattr__(self, "tap", self.tap or "+".join(self.taps))

    @property
    def needs(self) -> Needs:
        """Its taps: as maps, or pooled for vanilla heads."""
        return Needs(self.taps, "" if specs.find(self.name).takes_maps else self.pooling)

    def inputs(self, seen: Observations, is_live: bool = False) -> dict[str, Any]:
        """Returns what the head is fed of some observations: its taps by name, or the pixels for a live head.

        Raises:
            InputError: if they lack a tap, or have it in another form.
        """
        if is_live:
            return {images.PIXELS: seen[images.PIXELS]}
        names = {tap: pooling.array_name(tap, self.needs.pooling, tap != OUTCOME) for tap in self.taps}
        return {tap: seen[name] for tap, name in names.items()}

    def build(self, shapes: Mapping[str, tuple[int, ...]]) -> keras.Model:
        """Returns the Keras model for taps of these shapes, without the samples."""
        spec = specs.find(self.name)
        # A head on maps has the paper's layers in any case.
        return spec.build(shapes) if spec.takes_maps else spec.build(shapes, literal=self.literal)

    def trains_together(self, inputs: Mapping[str, Any]) -> bool:
        """Says whether it trains by `fit_together`: on vectors that memory holds, in float32, on one device."""
        if specs.find(self.name).takes_maps or self.precision != runtime.FLOAT32 or self.xla or runtime.strategy():
            return False
        return sum(batches.num_bytes(values) for values in inputs.values()) <= batches.HELD_BYTES

    def fit(
        self,
        seen: Observations,
        is_member: np.ndarray,
        seed: int = 1,
        folder: Path | None = None,
        front: keras.Model | None = None,
        on_epoch: Callable[[int], object] = lambda _: None,
    ) -> FittedHead:
        """Trains the head.

        Args:
            seen: What the taps gave for n samples; faces where the head is trained live.
            is_member: Which of the samples are members, (n,), bool.
            seed: Seeds weights, batch order and dropout.
            folder: The folder of logs and of the checkpoint of a long training; None writes nothing.
            front: The part of the audited model that the head needs, from `audited.taps.extractor`, for live training.
            on_epoch: A function that is called with the number of epochs done, for progress.

        Raises:
            InputError: if a class has fewer than 64 samples, or the head does not fit what was seen.
        """
        inputs = self.inputs(seen, front is not None)
        if front is None and self.trains_together(inputs):
            return fit_together([Wanted(self, seen, seed, folder)], is_member, folder, on_epoch)[0]
        if front is None:
            shapes = {tap: tuple(values.shape[1:]) for tap, values in inputs.items()}
        else:
            shapes = {tap: tuple(front.output[tap].shape[1:]) for tap in self.taps}
        data = batches.LabelledAad(inputs, np.arange(len(is_member)), is_member)
        spec = specs.find(self.name)
        warmup = 0 if self.literal else spec.warmup
        some = np.unique(np.linspace(0, len(seen) - 1, _PROBES, dtype=int))
        trainings = 1 + _RETRIES if warmup else 1
        for num_dead in range(trainings):
            # Its own stream tells a second training from that of another seed of the run.
            drawn = int(streams.stream(seed, streams.RETRIES, num_dead).integers(2**31)) if num_dead else seed
            checkpoints.seed_everything(drawn, is_deterministic=not self.xla)
            head = self.build(shapes)
            trained = fit_heads.place_head(head, self.precision, runtime.strategy())
            whole = trained if front is None else fit_heads.live_head(trained, front)
            settings = fit_heads.HeadTraining(spec.epochs, drawn, self.xla, warmup)
            # A folder of its own, or a killed second training would go on as the first.
            place = folder / f"again_{num_dead}" if folder and num_dead else folder
            fit_heads.fit_head(whole, data, settings, place, on_epoch)
            if trained is not head:
                head.set_weights(trained.get_weights())
            fitted = FittedHead(self, head, seed, front, calibration_of(seen, is_member, seed), num_dead)
            if num_dead == trainings - 1:
                break
            logits = fitted(seen.take(some))
            if not np.isfinite(logits).all() or np.ptp(logits) > 0:
                break
            said = f"The {self.name} head on {self.tap} (seed {seed}) died: it scores every sample alike."
            warnings.warn(f"{said} It is trained again from another seed.", stacklevel=2)
        if folder and num_dead:
            _keep_log_of(folder, num_dead)
        return fitted


class Wanted(NamedTuple):
    """A head to be fitted on some observations; those of the same seed or other ones see the same samples."""

    recipe: Head
    seen: Observations
    seed: int
    folder: Path | None = None


def fit_together(
    wanted: Sequence[Wanted],
    is_member: np.ndarray,
    folder: Path | None = None,
    on_epoch: Callable[[int], object] = lambda _: None,
) -> list[FittedHead]:
    """Trains heads of one kind that `Head.trains_together`, as `Head.fit` would each; folder takes their checkpoint."""
    shared: dict[tuple[int, Head], batches.LabelledAad] = {}
    trainings = []
    for recipe, seen, seed, place in wanted:
        if (id(seen), recipe) not in shared:
            inputs = {tap: values[:] for tap, values in recipe.inputs(seen).items()}
            shared[id(seen), recipe] = batches.LabelledAad(inputs, np.arange(len(seen)), is_member)
        data = shared[id(seen), recipe]
        checkpoints.seed_everything(seed)
        model = recipe.build({tap: tuple(values.shape[1:]) for tap, values in data.features.items()})
        trainings.append(together.Training(model, data, seed, place))
    together.fit_together(trainings, specs.find(wanted[0].recipe.name).epochs, folder, on_epoch)
    return [
        FittedHead(recipe, one.model, seed, None, calibration_of(seen, is_member, seed))
        for (recipe, seen, seed, _), one in zip(wanted, trainings, strict=True)
    ]


def _keep_log_of(folder: Path, last: int) -> None:
    """Puts the logs of a head's last training in the place of those of the ones that died before it."""
    for path in (folder / "train", *(folder / f"again_{num}" for num in range(1, last))):
        shutil.rmtree(path, ignore_errors=True)
    for path in (folder / f"again_{last}").iterdir():
        path.replace(folder / path.name)
    (folder / f"again_{last}").rmdir()


@dataclasses.dataclass(frozen=True)
class FittedHead:
    """A trained head: a function from observations to logits, (n,), float32."""

    recipe: Head
    model: keras.Model = dataclasses.field(repr=False)  # from taps to scores
    seed: int  # of its training
    # The part of the audited model in front of it, where it is fed faces; and None for a head that was loaded.
    front: keras.Model | None = dataclasses.field(default=None, repr=False)
    fitted_on: Calibration | None = dataclasses.field(default=None, repr=False)
    num_dead: int = 0  # trainings before it that died, each from a seed of its own

    @property
    def calibration(self) -> Calibration:
        """What it was trained on.

        Raises:
            InputError: for a head that was loaded.
        """
        if self.fitted_on is None:
            raise InputError("Expected a head that was trained in this session, received one from a file.")
        return self.fitted_on

    def __call__(self, seen: Observations) -> np.ndarray:
        """Runs the head once over n samples."""
        logits = fit_heads.logit_model(self.model)
        if self.front is not None:
            logits = fit_heads.live_head(logits, self.front)
        inputs = self.recipe.inputs(seen, self.front is not None)
        return fit_heads.predict_logits(
            logits, batches.LabelledAad(inputs, np.arange(len(seen)), np.zeros(len(seen), bool))
        )

    def evaluate(self, seen: Observations, is_member: np.ndarray) -> ResultRow:
        """Returns accuracy, loss and cross-entropy of Keras' own `evaluate`, and AUC and TPR from the scores."""
        everything = Labelled(np.arange(len(is_member)), as_truth(is_member))
        return self.judge(seen, {"evaluation": everything}, AUDITED)[0][1]

    def judge(
        self, seen: Observations, evaluations: Mapping[str, Labelled], model: str
    ) -> list[tuple[Scores, ResultRow]]:
        """Returns scores and figures of several evaluations, by name, of samples that were seen through a model."""
        # Evaluations share samples: each passes through the head once.
        rows = np.unique(np.concatenate([rows for rows, _ in evaluations.values()]))
        logit = np.empty(len(seen), np.float32)
        logit[rows] = self(seen.take(rows))
        found = []
        # `evaluate` of the whole head gives the same to 1e-6 for four times the work (tested).
        for name, figures in fit_heads.evaluate_logits(self.model, logit, evaluations).items():
            chosen, is_member = evaluations[name]
            table = seen.table.take(chosen)
            scores = Scores(self.recipe.name, self.recipe.tap, name, self.seed, table, is_member, logit[chosen], model)
            found.append((scores, summarise(scores, figures)))
        return found

    def save(self, path: Path) -> None:
        """Saves the Keras model; equal heads are equal bytes."""
        formats.save_model(path, self.model)


def load_model(path: Path) -> keras.Model:
    """Loads the Keras model of a head.

    Raises:
        InputError: if there is none.
    """
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(f"Expected a head in {path}, received: {error}") from error
