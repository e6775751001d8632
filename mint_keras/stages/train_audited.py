"""Stage: train an audited model on a known training set, and test it on people, or pictures, it never saw."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from mint_keras import formats
from mint_keras.audited import iresnet, margins, zoo
from mint_keras.data import images, samples, splits, tables
from mint_keras.records import InputError, SampleTable
from mint_keras.report import plots
from mint_keras.stages.train_classifier import TrainClassifier, train_classifier
from mint_keras.statistics import metrics
from mint_keras.training import checkpoints
from mint_keras.training import fit_audited as audited_training

_BATCH = 128
_CARD = """# {name}

An audited model whose members are known, for the lab of an audit; no use for recognising people.

{facts}

- Input: RGB faces of {resolution}x{resolution} aligned to the ArcFace template, (x - 127.5) / 127.5. Output: the
  embedding, not normalised.
- `members.parquet` lists what it was trained on, `held_out.parquet` people of the same database it never saw.
- `manifest.json` has the settings, the command and the SHA-256 of the weights and of the training pixels.
- `verification.png` is the ROC on the held-out people, `training.csv` the losses.
"""


@dataclasses.dataclass(frozen=True)
class TrainAudited:
    """Options of train_audited.py.

    Attributes:
        data: images to train on and hold out. For recognition a folder with a subfolder per identity, a RecordIO file
            (.rec), a sample table (.parquet, .csv), or lab faces such as synthetic:1/web/0-599/10 (identities 0 to 599
            of seed 1 as the database "web" shows them, 10 images each). For classification a database whose pictures
            have classes and parts: CIFAR-100, Tiny-ImageNet, one of tensorflow_datasets; all of its part train is
            trained on, the other parts are held out.
        out: folder for model.keras, its manifest and card, members.parquet, held_out.parquet, and the test.
        task: recognition of faces, or classification of pictures (the paper's Appendix A).
        arch: the network. For recognition r18, r34, r50, r100, r200, or small, mini and tiny for laptops. For
            classification mobilenet, resnet50, resnet101 (the paper's ResNet100), densenet121, densenet201, xception,
            vit, each also as _half, _quarter and _eighth of its width (resnet50_quarter), or tiny.
        resolution: side of the images in pixels, a multiple of 16; 0 takes 112 for recognition, which everything else
            here expects of faces (other models can be trained, audited and thrown away), and 32 for classification,
            where the paper has 16, 32, 64 and 128.
        loss: margin on the true class, for recognition only: arcface (0.5 radians) or cosface (0.4).
        split_identities: share of the identities that are trained on, for recognition only; the others are held out.
        epochs: passes over the training set.
        batch_size: images per step.
        learning_rate: peak rate of AdamW; decays to zero along a cosine.
        weight_decay: weight decay of AdamW.
        no_flips: do not mirror half of the images at random, the only augmentation there is; for recognition only.
        scale: inverse temperature of the softmax, for recognition only; 64 for millions of images, less for few
            identities.
        num_pairs: genuine, and impostor, pairs of held-out people for the verification ROC, for recognition only.
        seed: seed of the split, the weights, the order and the pairs.
        overwrite: replace what --out holds instead of continuing or refusing.
        quiet: no progress bars.
    """

    data: str
    out: Path
    task: Literal["recognition", "classification"] = "recognition"
    arch: str = "small"
    resolution: int = 0
    loss: Literal["arcface", "cosface"] = "arcface"
    split_identities: float = 0.5
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = audited_training.LEARNING_RATE
    weight_decay: float = audited_training.WEIGHT_DECAY
    no_flips: bool = False
    scale: float = 32.0
    num_pairs: int = 3000
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


_OF_CLASSIFICATION = {field.name for field in dataclasses.fields(TrainClassifier)}
_ONLY_RECOGNITION = {field.name for field in dataclasses.fields(TrainAudited)} - _OF_CLASSIFICATION - {"task"}
_NOT_CONTENT = {"out", "overwrite", "quiet", "task"}
_PICTURE_SIZE = 32  # pixels


def train_audited(config: TrainAudited) -> str:
    """Trains the model, saves it with its members, and reports how it does on what it never saw."""
    is_classifier = config.task == "classification"
    if is_classifier:
        _refuse_options(config, _ONLY_RECOGNITION)
        options = {name: getattr(config, name) for name in _OF_CLASSIFICATION}
        return train_classifier(TrainClassifier(**options | {"resolution": config.resolution or _PICTURE_SIZE}))
    return _train_recognition(config)


def _refuse_options(config: TrainAudited, names: set[str]) -> None:
    """Raises InputError for options of the other task, which would have no effect."""
    fields = (field for field in dataclasses.fields(config) if field.name in names)
    if given := [field.name for field in fields if getattr(config, field.name) != field.default]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"Expected options of --task {config.task}, received {flags}, which it does not have.")


def _train_recognition(config: TrainAudited) -> str:
    table = samples.list_samples(config.data)
    rng = np.random.default_rng(config.seed)
    is_member = splits.split_people(table.people(), config.split_identities, rng)
    members, held_out = table.take(is_member), table.take(~is_member)
    if min(config.epochs, config.batch_size) < 1:
        raise InputError(
            f"Expected epochs and batch size of at least 1, received {config.epochs}, {config.batch_size}."
        )
    if config.arch not in iresnet.ARCHITECTURES:
        raise InputError(f"Expected an architecture of {sorted(iresnet.ARCHITECTURES)}, received {config.arch!r}.")
    if config.resolution % 16:
        raise InputError(f"Expected a resolution that is a multiple of 16 pixels, received {config.resolution}.")
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in _NOT_CONTENT}
    settings["resolution"] = _size(config)
    manifest = formats.make_manifest(zoo.KIND, {"data": samples.fingerprint(table)}, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        if not (config.out / formats.MODEL).is_file():
            _train(config, members, held_out)
        model = zoo.load_audited(config.out)
        result = _verify(config, model, held_out)
    members = tables.read_samples(config.out / formats.MEMBERS)
    text = (
        f"{config.arch}, {model.count_params():,} parameters, {config.loss}, trained on {len(members)} images of "
        f"{len(np.unique(members.people()))} identities of {config.data}.\n"
        f"Verification on {result['num_identities']} identities it never saw, {2 * result['num_pairs']} pairs: "
        f"AUC {result['auc']:.4f}, TPR {result['tpr_at_1_fpr']:.3f} at FPR 1%."
    )
    card = _CARD.format(name=config.out.name, facts=text, resolution=_size(config))
    formats.write_text(config.out / "card.md", card)
    return f"{config.out / formats.MODEL}: {text}"


def _size(config: TrainAudited) -> int:
    return config.resolution or images.IMAGE_SIZE


def _train(config: TrainAudited, members: SampleTable, held_out: SampleTable) -> None:
    checkpoints.seed_everything(config.seed)
    model = iresnet.build(config.arch, _size(config))
    reader = images.FaceReader(images.Framing(_size(config)))
    cache = config.out / "faces.npy"
    rows, faces = reader.decode_to(cache, members)
    formats.write_rejected(config.out / formats.REJECTED, reader.rejected)
    if not len(rows):
        raise InputError(f"Expected face images in {config.data}, received {len(reader.rejected)} files that are none.")
    members = members.take(rows)
    _, labels = np.unique(members.people(), return_inverse=True)
    fit = audited_training.AuditedTraining(
        config.epochs, config.batch_size, config.learning_rate, config.weight_decay, config.seed,
        not config.no_flips, margins.MARGINS[config.loss], config.scale,
    )  # fmt: skip
    a_bar_or_lines = 1 if sys.stderr.isatty() else 2
    audited_training.fit_audited(model, faces, labels, fit, config.out, verbose=0 if config.quiet else a_bar_or_lines)
    tables.write_samples(config.out / formats.MEMBERS, members)
    tables.write_samples(config.out / formats.HELD_OUT, held_out)
    zoo.save_audited(config.out, model, {"members_pixels_sha256": reader.digest, "num_members": len(members)})
    del faces
    cache.unlink()
    shutil.rmtree(config.out / "checkpoint", ignore_errors=True)


def _verify(config: TrainAudited, model: keras.Model, held_out: SampleTable) -> dict[str, float]:
    """Compares pairs of held-out faces by the cosine of their embeddings."""
    reader = images.FaceReader(images.Framing(_size(config)))
    used, embeddings = [], []
    for rows, faces in reader.batches(held_out, _BATCH):
        used.append(rows)
        embeddings.append(model.predict_on_batch(iresnet.normalise(faces)))
    if not used:
        raise InputError("Expected readable faces among the held-out identities, received none.")
    people = held_out.take(np.concatenate(used)).people()
    vectors = np.concatenate(embeddings)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs, genuine = splits.make_pairs(people, config.num_pairs, np.random.default_rng(config.seed))
    cosines = np.einsum("ij,ij->i", vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    result = {
        "num_identities": len(np.unique(people)),
        "num_pairs": int(genuine.sum()),
        "auc": metrics.auc(genuine, cosines),
        "tpr_at_1_fpr": metrics.tpr_at_fpr(genuine, cosines, 0.01),
    }
    formats.write_json(config.out / formats.VERIFICATION, result)
    curve = metrics.roc_curve(genuine, cosines)
    plots.save_roc(
        config.out / "verification.png", {f"AUC {result['auc']:.3f}": curve}, "Verification, held-out identities"
    )
    return result
