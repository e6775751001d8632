r"""Train a face-recognition model, or a classifier of pictures, whose training set is known: the lab of an audit.

Of faces, half of the identities (--split-identities) are trained on; the others are held out, for the verification ROC
and as same-database externals of an audit. Of pictures (--task classification), the part train of a database is trained
on and its other parts are held out, for the accuracy and as the same externals. With --from the end of a network that
recognises faces already goes on learning, as when somebody else's model is adapted to one's own people. With --shadows
models of the same kind are trained on people drawn by lot, as references of an audit. Run the same command again to
continue an interrupted training.

Examples:
    python scripts/train_audited.py --data lfw/train.rec --out runs/lfw-audited --epochs 20
    python scripts/train_audited.py --task classification --arch mobilenet --data cifar-100-python --resolution 32 \
        --epochs 1 --out runs/cifar-mobilenet
    python scripts/train_audited.py --from models/mobilefacenet --trainable conv_046 --data lfw/train.rec \
        --split-identities 0.12 --epochs 10 --batch-size 64 --shadows 7 --out runs/lfw-fine-tuned
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mint_keras import formats, languages, shelf
from mint_keras.borders import named
from mint_keras.commands import Result, spec_of
from mint_keras.data import images, sample_tables, samples, splits
from mint_keras.options import Common
from mint_keras.records import InputError, SampleTable

# What training pictures has no use for.
_ONLY_RECOGNITION = ("from_", "trainable", "loss", "split_identities", "no_flips", "scale", "num_pairs", "shadows")
# What a network that is there already has decided.
_ONLY_NEW = ("arch", "resolution")
_PICTURE_SIZE = 32  # pixels
_MOST = 1000  # shadows, and inverse temperature


@dataclasses.dataclass(frozen=True)
class TrainAudited(Common):
    """Options of train_audited.py.

    Attributes:
        data: Images to train on and hold out. For recognition a folder with a subfolder per identity, a RecordIO file
            (.rec), a sample table (.parquet, .csv), or lab faces such as synthetic:1/web/0-599/10 (identities 0 to 599
            of seed 1 as the database "web" shows them, 10 images each). For classification a database whose pictures
            have classes and parts: CIFAR-100, Tiny-ImageNet, one of tensorflow_datasets; all of its part train is
            trained on, the other parts are held out.
        out: Folder for model.keras, its manifest and card, members.parquet, held_out.parquet, and the test.
        task: recognition of faces, or classification of pictures (the paper's Appendix A).
        arch: The network. For recognition r18, r34, r50, r100, r200, or small, mini and tiny for laptops. For
            classification mobilenet, resnet50, resnet101 (the paper's ResNet100), densenet121, densenet201, xception,
            vit, each also as _half, _quarter and _eighth of its width (resnet50_quarter), or tiny.
        resolution: Side of the images in pixels, a multiple of 16; 0 takes 112 for recognition, which everything else
            here expects of faces (other models can be trained, audited and thrown away), and 32 for classification,
            where the paper has 16, 32, 64 and 128.
        loss: Margin on the true class, for recognition only: arcface (0.5 radians) or cosface (0.4).
        split_identities: Share of the identities that are trained on, for recognition only; the others are held out.
        epochs: Passes over the training set.
        batch_size: Images per step.
        learning_rate: Peak rate of AdamW; it decays to zero along a cosine.
        weight_decay: Weight decay of AdamW.
        no_flips: Do not mirror half of the images at random, the only augmentation there is; for recognition only.
        scale: Inverse temperature of the softmax, for recognition only; 64 for millions of images, less for few
            identities.
        num_pairs: Genuine, and impostor, pairs of held-out people for the verification ROC, for recognition only.
        seed: Seed of the split, the first weights unless they are given by --from, the order and the pairs.
        from_: A model to begin with, for recognition only: a folder of convert_fr.py or train_audited.py. What comes
            before --trainable stays as it is, and so do all batch normalisations. The classifier that it is trained
            with begins as the people's centroids in it.
        trainable: Where what is trained of --from begins: the name of a layer, or of a stage, such as stage4, where
            layers are named so. A name that is none is answered with those that there are.
        shadows: Also train so many shadows, for recognition only: each as the model is, on people of --data by a coin
            flip each, with the chance of --split-identities. They go to the folders shadows/1, shadows/2 ... of --out,
            for `mint audit --reference`; shadows.csv says who is in which. A larger number later adds some.
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
    # The two of `training.fit_audited`, which takes seconds to load; a test keeps them equal.
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    no_flips: bool = False
    scale: float = 32.0
    num_pairs: int = 3000
    seed: int = 1
    from_: Path | None = None
    trainable: str = ""
    shadows: int = 0


@dataclasses.dataclass(frozen=True)
class TrainedModel(Result):
    """The trained model's folder, and the content of its verification.json, or of a classifier's evaluation.json."""

    figures: dict[str, Any]
    out: Path


def train_audited(config: TrainAudited) -> TrainedModel:
    """Trains the model, saves it with its members, and reports how it does on what it never saw."""
    if min(config.epochs, config.batch_size) < 1:
        raise InputError(
            f"Expected epochs and batch size of at least 1, received {config.epochs}, {config.batch_size}."
        )
    if not (0 < config.learning_rate <= 1 and 0 <= config.weight_decay <= 1 and 0 < config.scale <= _MOST):
        raise InputError(
            f"Expected --learning-rate above 0 and up to 1, --weight-decay from 0 to 1 and --scale up to {_MOST}, "
            f"received {config.learning_rate}, {config.weight_decay} and {config.scale}."
        )
    if config.num_pairs < 1 or config.shadows > _MOST:
        raise InputError(
            f"Expected --num-pairs of at least 1 and --shadows up to {_MOST}, received {config.num_pairs} and "
            f"{config.shadows}."
        )
    if config.task == "recognition":
        return _train_recognition(config)
    from mint_keras.training import classification

    _refuse(config, _ONLY_RECOGNITION, f"--task {config.task}")
    sized = dataclasses.replace(config, resolution=config.resolution or _PICTURE_SIZE)
    spec = spec_of(classification.ClassifierSpec, sized)
    trained = classification.train_classifier(spec, config.out, config.overwrite)
    return TrainedModel(f"{config.out / formats.MODEL}: {trained.facts}", trained.figures, config.out)


def _train_recognition(config: TrainAudited) -> TrainedModel:
    from mint_keras.audited import iresnet, margins, zoo
    from mint_keras.training import checkpoints, fine_tuning, fit_audited
    from mint_keras.training.shadows import train_shadows

    table = samples.list_samples(config.data)
    is_member = splits.split_people(table.people(), config.split_identities, np.random.default_rng(config.seed))
    members, held_out = table.take(is_member), table.take(~is_member)
    other = ("out", "task", "overwrite", "absolute_paths", "quiet", "shadows")
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in other}
    inputs = {"data": samples.fingerprint(table)}
    if config.from_ is None:
        _check_new(config)
        # 0 and 112 are the same model.
        settings["resolution"] = resolution = config.resolution or images.IMAGE_SIZE
        dropped = ("from_", "trainable")
    else:
        first = _open_first(config)
        settings["resolution"] = resolution = first.input.shape[1]
        settings["classifier"] = fine_tuning.CLASSIFIER
        inputs["from"] = formats.read_manifest(shelf.find(config.from_), zoo.KIND)["model_sha256"]
        dropped = ("from_", "arch")
    framing = images.Framing(resolution)
    fitting = fit_audited.AuditedTraining(
        config.epochs, config.batch_size, config.learning_rate, config.weight_decay, config.seed,
        not config.no_flips, margins.MARGINS[config.loss], config.scale, config.trainable,
    )  # fmt: skip
    manifest = formats.make_manifest(zoo.KIND, inputs, {k: v for k, v in settings.items() if k not in dropped})
    with formats.output_folder(config.out, manifest, config.overwrite):
        if not (config.out / formats.MODEL).is_file():
            # Before the network is built: its first weights, and its classifier's without --from, come from this seed.
            checkpoints.seed_everything(config.seed)
            sample_tables.write_samples(config.out / formats.HELD_OUT, held_out)
            model = iresnet.build(config.arch, resolution) if config.from_ is None else first
            fit_audited.fit_members(model, members, framing, fitting, config.out)
        if config.shadows:

            def begin() -> Any:
                return iresnet.build(config.arch, resolution) if config.from_ is None else _open_first(config)

            train_shadows(begin, table, framing, fitting, config.shadows, config.split_identities, config.out)
        figures = _verify(config, held_out, framing)
    return _report(config, figures, resolution)


def _check_new(config: TrainAudited) -> None:
    from mint_keras.audited import iresnet

    if config.trainable:
        raise InputError(f"Expected --from with --trainable {config.trainable}, received none: all of a new model is.")
    if config.arch not in iresnet.ARCHITECTURES:
        raise InputError(f"Expected an architecture of {sorted(iresnet.ARCHITECTURES)}, received {config.arch!r}.")
    if config.resolution % 16:
        raise InputError(f"Expected a resolution that is a multiple of 16 pixels, received {config.resolution}.")


def _open_first(config: TrainAudited) -> Any:
    """Opens the model of --from, before anything is written, and makes sure that it can be cut."""
    from mint_keras.audited import zoo
    from mint_keras.training import fine_tuning

    assert config.from_ is not None  # noqa: S101 # it is asked before
    _refuse(config, _ONLY_NEW, "--from")
    model = zoo.load_audited(config.from_)
    fine_tuning.split_at(model, config.trainable)
    return model


def _refuse(config: TrainAudited, names: Sequence[str], of: str) -> None:
    if given := [name for name in names if getattr(config, name) != getattr(TrainAudited, name)]:
        flags = ", ".join(f"--{name.strip('_').replace('_', '-')}" for name in given)
        raise InputError(f"Expected options of {of}, received {flags}, which it does not have.")


def _verify(config: TrainAudited, held_out: SampleTable, framing: images.Framing) -> dict[str, Any]:
    """Verifies the model, and what it began as, on people whom it never saw."""
    from mint_keras.audited import zoo
    from mint_keras.report import plots
    from mint_keras.training import fit_audited

    folders = {"": config.out} | ({" before": config.from_} if config.from_ else {})
    figures, curves = {}, {}
    for when, folder in folders.items():
        model = zoo.load_audited(folder)
        figures[when], curve = fit_audited.verify_people(model, held_out, framing, config.num_pairs, config.seed)
        curves[f"AUC{when} {figures[when]['auc']:.3f}"] = curve
    found = figures[""] | ({"before": figures[" before"]} if config.from_ else {})
    formats.write_json(config.out / formats.VERIFICATION, found)
    plots.save_roc(config.out / "verification.png", curves, "Verification, held-out identities")
    return found


def _report(config: TrainAudited, figures: dict[str, Any], resolution: int) -> TrainedModel:
    """Writes the card, and says the same."""
    from mint_keras.audited import zoo

    members, model = sample_tables.read_samples(config.out / formats.MEMBERS), zoo.load_audited(config.out)
    what = config.arch if config.from_ is None else f"{config.from_.name} from {config.trainable} on"
    old = figures.get("before")
    before = f" Before: AUC {old['auc']:.4f}, TPR {old['tpr_at_1_fpr']:.3f}." if old else ""
    facts = (
        f"{what}, {model.count_params():,} parameters, {config.loss}, trained on {len(members)} images of "
        f"{len(np.unique(members.people()))} identities of {named(config.data)}.\n"
        f"Verification on {figures['num_identities']} identities it never saw, {2 * figures['num_pairs']} pairs: "
        f"AUC {figures['auc']:.4f}, TPR {figures['tpr_at_1_fpr']:.3f} at FPR 1%.{before}"
    )
    # Its head is what the Hugging Face Hub reads; the terms are those of what it was trained on.
    card = languages.of(languages.ENGLISH).templates("mint_keras.report", is_page=False).get_template("audited.md")
    formats.write_text(config.out / "card.md", card.render(name=config.out.name, facts=facts, resolution=resolution))
    return TrainedModel(f"{config.out / formats.MODEL}: {facts}", figures, config.out)
