"""Worlds of networks that are any good: a public network whose end was trained on some people of real photos.

The frozen part sees every photo, and its changes, once. Its maps are kept, and a further network costs seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import simplejpeg
from keras import layers
from sklearn import linear_model

from mint_keras import formats, streams, vectors
from mint_keras.aad import pooling, views
from mint_keras.aad.observe import observe, run
from mint_keras.audited import iresnet, margins, recalibration, runtime, taps, zoo
from mint_keras.audited.runtime import FaceFunction
from mint_keras.auditing import look as looks
from mint_keras.data import images, sample_tables, samples, splits
from mint_keras.records import AUDITED, UNTRAINED, InputError, Observations, SampleTable, concatenate_tables
from mint_keras.scorers import blind
from mint_keras.statistics import findings
from mint_keras.training import checkpoints, fine_tuning, fit_audited
from studies import arrays
from studies.worlds import classifiers, drawing
from studies.worlds.drawing import PIXELS
from studies.worlds.networks import PeopleSeen
from studies.worlds.spec import WorldsSpec

# How the network is called that the audited ones began as.
BEFORE = "before"
# Streams of their own, far from those of `mint_keras.streams`.
_PEOPLE, _PHOTOS, _MEMBERS, _LABELLED = 101, 102, 103, 104
_NUM_PAIRS = 3000
_NUM_PEOPLE = 480  # of the worlds: a network has 110 of them as members
_NUM_LABELLED = 2000  # faces from which traits are learned
_STRONG = 15  # the quality of compressed photos
_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class UsableSpec:
    """Fine-tuned networks, numbered from 1.

    Attributes:
        first: The network that they begin as: a folder of convert_fr.py or train_audited.py.
        trainable: Where what is trained of it begins, see `fine_tuning.split_at`.
        data: Photos of people, as `samples.list_samples` takes them.
        claimed: People that each network is trained on.
        least_photos: People with fewer photos are left out.
        photos: Photos of a person, at most; networks are trained on all of a member's.
        num_people: People, at most, beside the spare ones; 0 takes all.
        epochs: Passes of a training.
        batch_size: Photos a step.
        learning_rate: The peak rate of AdamW.
        labelled: Faces whose attributes say sex, age and race, from which these are guessed of others; "" guesses
            nothing.
        num_spare: People who give untrained copies their statistics, and appear in no world.
        num_untrained: Untrained copies of the network.
        looks: Folders of other networks that look at the photos, by name.
        seed: Seed of everything.
    """

    first: Path
    trainable: str
    data: str
    claimed: int = 110
    least_photos: int = 3
    photos: int = 4
    num_people: int = 0
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    labelled: str = ""
    num_spare: int = 30
    num_untrained: int = 3
    looks: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Photos:
    """Photos that networks look at, and where what they make of them is kept.

    Attributes:
        table: The samples.
        folder: The folder.
        quality: Of the JPEG that faces go through before networks look at them; 0 leaves them as they are.
    """

    table: SampleTable
    folder: Path
    quality: int = 0

    @functools.cached_property
    def faces(self) -> np.ndarray:
        """The faces, (n, 112, 112, 3), uint8."""
        rows, faces = images.read_faces(self.table)
        if len(rows) < len(self.table):  # rows are found by their place
            raise InputError(f"Expected {len(self.table)} photos that can be read, received {len(rows)}.")
        if not self.quality:
            return faces
        files = (simplejpeg.encode_jpeg(np.ascontiguousarray(face), self.quality) for face in faces)
        return np.stack([simplejpeg.decode_jpeg(file, "RGB") for file in files])


@dataclasses.dataclass(frozen=True)
class UsableLab:
    """Fine-tuned networks in a folder, and what they and the networks beside them make of photos.

    Attributes:
        spec: The networks.
        out: The folder. What is there is not made again.
    """

    spec: UsableSpec
    out: Path

    def folder(self, number: int) -> Path:
        """Returns where a fine-tuned network lies."""
        return self.out / "models" / str(number)

    @functools.cached_property
    def people(self) -> Photos:
        """All people with enough photos, but the spare ones."""
        return Photos(self._divided[0], self.out / "people")

    def photos(self, table: SampleTable, name: str) -> Photos:
        """Returns other photos, such as of another database, under a name of their own; equal faces count once."""
        found = Photos(table, self.out / name)
        digests = [hashlib.sha256(face.tobytes()).hexdigest() for face in found.faces]
        return Photos(table.take(np.sort(np.unique(digests, return_index=True)[1])), self.out / name)

    def train(self, number: int) -> dict[str, float]:
        """Trains a network, unless it is there, and returns its verification before and after, on the other people."""
        folder = self.folder(number)
        is_there = (folder / formats.VERIFICATION).is_file()
        classifiers.began(folder.parent, is_adding=not is_there)
        if is_there:
            return formats.read_json(folder / formats.VERIFICATION)
        photos, spec = self.people, self.spec
        everybody = np.unique(photos.table.people())
        rng = streams.stream(spec.seed, _MEMBERS, number)
        is_member = np.isin(photos.table.people(), rng.permutation(everybody)[: spec.claimed])
        # One map of a face as it is, one of its mirror image: the first of `views.VIEWS`.
        maps = np.asarray(self._maps(photos)[is_member, :2])
        settings = fit_audited.AuditedTraining(
            spec.epochs, spec.batch_size, spec.learning_rate, fit_audited.WEIGHT_DECAY, spec.seed + number, True,
            margins.MARGINS["arcface"], 32.0, spec.trainable,
        )  # fmt: skip
        first = formats.read_manifest(spec.first, zoo.KIND)["model_sha256"]
        config = dataclasses.asdict(settings) | {"number": number, "resolution": images.IMAGE_SIZE}
        config |= {"classifier": fine_tuning.CLASSIFIER}
        manifest = formats.make_manifest(zoo.KIND, {"data": samples.fingerprint(photos.table), "from": first}, config)
        with formats.output_folder(folder, manifest):
            if not (folder / formats.MODEL).is_file():
                checkpoints.seed_everything(settings.seed, is_deterministic=False)
                members, model = photos.table.take(is_member), zoo.load_audited(spec.first)
                sample_tables.write_samples(folder / formats.MEMBERS, members)
                sample_tables.write_samples(folder / formats.HELD_OUT, photos.table.take(~is_member))
                labels = np.unique(members.people(), return_inverse=True)[1]
                with fine_tuning.in_training(model, spec.trainable) as (_, tail):
                    fit_audited.fit_audited(tail, maps, labels, settings, folder, fine_tuning.batch_of_maps)
                zoo.save_audited(folder, model, {"num_members": len(members)})
            others = photos.table.take(~is_member).people()
            seen = (self._through_tail(photos, place)["outcome"][~is_member] for place in (spec.first, folder))
            before, after = (fit_audited.verify_embeddings(x, others, _NUM_PAIRS, spec.seed)[0] for x in seen)
            formats.write_json(folder / formats.VERIFICATION, {**after, "before": before})
        return formats.read_json(folder / formats.VERIFICATION)

    def look(self, number: int) -> PeopleSeen:
        """Returns what every network makes of all people, who are members of a fine-tuned one, or are not.

        Beside every photo there is what strong compression leaves of it, see `drawing.recompressed`.
        The number 0 is the network that the others begin as, of which nobody is a member. The people are of one
        database, so that their worlds are those of `drawing.KINDS` whose externals are at home.
        """
        table = self.people.table
        is_member = np.zeros(len(table), bool)
        plain = self.observe(self.people, number)
        if number:
            members = sample_tables.read_samples(self.folder(number) / formats.MEMBERS)
            is_member = np.isin(table.sample_id, members.sample_id)
        people = drawing.People(table.take(is_member), {str(table.database[0]): table.take(~is_member)})
        again = self.observe(Photos(table, self.out / "recompressed", _STRONG), number)
        both = concatenate_tables([table, drawing.recompressed(table)])
        by_network = {name: Observations(both, _stacked(seen, again[name])) for name, seen in plain.items()}
        return PeopleSeen(people, by_network, self._traits if self.spec.labelled else {})

    def observe(self, photos: Photos, number: int = 0) -> dict[str, Observations]:
        """Returns what every network makes of photos.

        Args:
            photos: Photos of `people`, or of `photos`.
            number: The fine-tuned network that is audited; 0 audits the one before, which was trained on none of them
                here.

        Returns:
            Observations by network: `PIXELS`, `AUDITED`, `BEFORE` where another is audited, untrained copies, and
            `UsableSpec.looks`.
        """
        spec = self.spec
        if number:
            self.train(number)
        found: dict[str, Callable[[], Mapping[str, np.ndarray]]] = {
            PIXELS: functools.partial(self._kept, photos, PIXELS, lambda: blind.features, False),
            AUDITED: functools.partial(self._through_tail, photos, self.folder(number) if number else spec.first),
        }
        if number:
            found[BEFORE] = functools.partial(self._through_tail, photos, spec.first)
        for copy in range(1, spec.num_untrained + 1):
            name = f"{UNTRAINED}_{copy}"
            make = functools.partial(self._untrained, copy)
            found[name] = functools.partial(self._kept, photos, name, make)
        for name, folder in spec.looks.items():
            make = functools.partial(face_function, folder)
            found[name] = functools.partial(self._kept, photos, name, make)
        return {name: Observations(photos.table, see()) for name, see in found.items()}

    @functools.cached_property
    def _divided(self) -> tuple[SampleTable, SampleTable]:
        """Samples of the people who appear, and of the spare ones."""
        spec, listed = self.spec, samples.list_samples(self.spec.data)
        names, counts = np.unique(listed.people(), return_counts=True)
        enough = streams.stream(spec.seed, _PEOPLE).permutation(names[counts >= spec.least_photos])
        spare, used = enough[: spec.num_spare], enough[spec.num_spare :][: spec.num_people or None]
        if len(used) < 2 * spec.claimed:
            raise InputError(
                f"Expected {2 * spec.claimed} people with {spec.least_photos} photos beside {spec.num_spare} spare "
                f"ones, received {len(used)}."
            )
        rng, people = streams.stream(spec.seed, _PHOTOS), listed.people()
        kept = np.sort(np.concatenate([rng.permutation(rows)[: spec.photos] for rows in splits.rows_by_person(people)]))
        chosen, others = (listed.take(kept[np.isin(people[kept], some)]) for some in (used, spare))
        return chosen, others

    @functools.cached_property
    def _traits(self) -> dict[str, dict[str, float]]:
        """Returns the log-odds of every person's traits, the mean of what is guessed of each photo.

        The guesses are of the first of `UsableSpec.looks`: not every face network tells men from women.
        """

        def guess() -> dict[str, dict[str, float]]:
            (name, folder), *_ = self.spec.looks.items()
            photos, listed = self.people, samples.list_samples(self.spec.labelled)
            listed = listed.take(
                np.sort(streams.stream(self.spec.seed, _LABELLED).permutation(len(listed))[:_NUM_LABELLED])
            )
            rows, faces = images.read_faces(listed)
            shown = vectors.unit_rows(run(looks.embedder(folder), faces)[taps.OUTCOME])
            seen = self._kept(photos, name, functools.partial(face_function, folder))
            others = vectors.unit_rows(np.asarray(seen[taps.OUTCOME], np.float64))
            people, found = photos.table.people(), {}
            for trait, has_it in has_traits(listed.take(rows)).items():
                each = linear_model.LogisticRegression(max_iter=1000).fit(shown, has_it).decision_function(others)
                found[trait] = {one: float(each[people == one].mean()) for one in np.unique(people).tolist()}
            return found

        return formats.kept(self.people.folder / "traits.json", guess, formats.write_json, formats.read_json)

    def _maps(self, photos: Photos) -> np.ndarray:
        """Returns what the frozen part makes of faces and their views, (n, 1 + views, height, width, channels)."""
        path = photos.folder / "maps.npy"
        if not path.is_file():
            trunk = fine_tuning.split_at(zoo.load_audited(self.spec.first), self.spec.trainable).trunk
            with formats.atomic_path(path) as temporary:
                fine_tuning.maps_of(trunk, photos.faces, (fine_tuning.FLIPS[0], *views.VIEWS.values()), temporary)
        return np.load(path, mmap_mode="r")

    def _through_tail(self, photos: Photos, folder: Path) -> Mapping[str, np.ndarray]:
        """Returns what `views.face_function` gives of a network that begins as the first, by its maxima only."""
        trainable = self.spec.trainable

        def front() -> FaceFunction:
            model = zoo.load_audited(self.spec.first)
            lying = set(taps.tap_tensors(model)) - set(_behind(model, trainable))
            names = [tap for tap in taps.CONV_TAPS if tap in lying]
            return _maxima(taps.extractor(model, names)) if names else lambda faces: {}

        def tail() -> Mapping[str, np.ndarray]:
            return from_maps(zoo.load_audited(folder), trainable, self._maps(photos))

        name = BEFORE if folder == self.spec.first else f"model_{folder.name}"
        found = formats.kept(photos.folder / f"{name}.npz", tail, arrays.write, arrays.read)
        return {**self._kept(photos, "frozen", front), **found}

    def _kept(
        self, photos: Photos, name: str, look: Callable[[], FaceFunction], is_filled: bool = True
    ) -> Mapping[str, np.ndarray]:
        """Returns what something that looks at faces gives of photos; what it gave before is read."""

        def make() -> Mapping[str, np.ndarray]:
            seen = observe(Observations(photos.table, {images.PIXELS: photos.faces}), look(), is_filled=is_filled)
            return {key: values for key, values in seen.arrays.items() if key not in (images.PIXELS, blind.THUMBNAILS)}

        return formats.kept(photos.folder / f"{name}.npz", make, arrays.write, arrays.read)

    def _untrained(self, copy: int) -> FaceFunction:
        spare = Photos(self._divided[1], self.out / "spare")
        first = zoo.load_audited(self.spec.first)
        return face_function(recalibration.recalibrated_copy(first, spare.faces, self.spec.seed + copy))


def of_worlds(spec: WorldsSpec, out: Path) -> UsableLab:
    """Returns the usable networks of worlds, which `--usable` and `--faces` name."""
    given: dict[str, Any] = {
        "first": Path(spec.usable),
        "data": spec.faces,
        "num_people": _NUM_PEOPLE,
        "least_photos": 4,
    }
    given |= {name: getattr(spec, name) for name in ("trainable", "labelled", "num_untrained", "seed")}
    return UsableLab(UsableSpec(looks={findings.LOOK: Path("dlib")}, **given), out)


def from_maps(model: keras.Model, trainable: str, maps: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what a network makes of faces and their views, from what its frozen part has made of them.

    Args:
        model: The network.
        trainable: What of it is not frozen, see `fine_tuning.split_at`.
        maps: What the frozen part made of every face and of its `views.VIEWS`, (n, 1 + views, height, width, channels).

    Returns:
        What `views.face_function` gives, but for the frozen part's taps: of other maps the maxima, the outcome, and
        what `views.with_views` adds.
    """
    cut = fine_tuning.split_at(model, trainable).trunk.output[taps.OUTCOME]
    outputs = {tap: layers.Identity(name=tap)(x) for tap, x in _behind(model, trainable).items()}
    forward = runtime.forward(pooling.pooled(keras.Model(cut, outputs), (pooling.MAX,)))
    parts = []
    for start in range(0, len(maps), _BATCH_SIZE):
        some = np.asarray(maps[start : start + _BATCH_SIZE], np.float32)
        plain, *seen = (forward(some[:, view]) for view in range(some.shape[1]))
        parts.append(plain | views.compare(plain[taps.OUTCOME], [x[taps.OUTCOME] for x in seen]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def traits(table: SampleTable) -> dict[str, np.ndarray]:
    """Returns what the names of UTKFace's photos say: sex and race as numbers, age in years; -1 where they say nothing.

    Its photos are to be aligned by prepare_faces.py with a border of 0.5 first, as those of other databases are.
    """
    texts = [""] * len(table) if table.attributes is None else table.attributes.tolist()
    said = [json.loads(text or "{}") for text in texts]
    keys = {"sex": "gender", "age": "age", "race": "race"}
    return {name: np.array([int(one.get(key, -1)) for one in said]) for name, key in keys.items()}


def has_traits(table: SampleTable) -> dict[str, np.ndarray]:
    """Returns who is female, of age 40 or more, not white: by `drawing.TRAITS`, shape (n,), bool.

    Raises:
        InputError: if that is not said of everybody.
    """
    said = traits(table)
    if any((values < 0).any() for values in said.values()):
        raise InputError("Expected sex, age and race of everybody in the faces' attributes, received some without.")
    return {name: said[name] >= bound for name, bound in zip(drawing.TRAITS, (1, 40, 1), strict=True)}


def _behind(model: keras.Model, trainable: str) -> dict[str, keras.KerasTensor]:
    """Returns the outcome, and those of the convolutional taps that what is trained can change."""
    cut = fine_tuning.split_at(model, trainable).trunk.output[taps.OUTCOME]
    found = {}
    for tap, tensor in taps.tap_tensors(model).items():
        if tap in (*taps.CONV_TAPS, taps.OUTCOME):
            try:
                keras.Model(cut, tensor)
            except ValueError:  # it lies in front of the cut
                continue
            found[tap] = tensor
    return found


def _stacked(seen: Observations, again: Observations) -> dict[str, np.ndarray]:
    return {name: np.concatenate([seen[name], again[name]]) for name in seen.arrays}


def _maxima(extractor: keras.Model) -> FaceFunction:
    forward = runtime.forward(pooling.pooled(extractor, (pooling.MAX,)))
    return lambda faces: forward(iresnet.normalise(faces))


def face_function(model: keras.Model | Path) -> FaceFunction:
    """Returns what worlds keep of `views.face_function`: of maps, the maxima only."""
    look = views.face_function(zoo.load_audited(model) if isinstance(model, Path) else model)
    dropped = tuple(pooling.array_name(tap, kind) for tap in taps.CONV_TAPS for kind in views.POOLINGS[1:])
    return lambda faces: {name: values for name, values in look(faces).items() if name not in dropped}
