"""A MINT run on disk: what training, evaluation and export of heads share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad import pooling, signals, store
from mint_keras.aad.models import AUDITED, UNTRAINED
from mint_keras.audit import results
from mint_keras.audited import runtime, zoo
from mint_keras.audited import taps as taps_module
from mint_keras.data import images, samples, synthetic
from mint_keras.data import protocol as protocols
from mint_keras.heads import specs
from mint_keras.records import InputError, ResultRow, Scores
from mint_keras.stages import make_protocol as protocol_stage
from mint_keras.stages import run_aad, run_baselines
from mint_keras.stages.progress import pace
from mint_keras.training import batches, checkpoints
from mint_keras.training import heads as head_training

KIND = "mint_run"
COMBINATION, COMBINATION_OUTCOME = "combination", "combination+outcome"
_NOT_CONTENT = ("out", "overwrite", "quiet")

LAB_EXTERNALS = (
    "synthetic:1/news/10000-10199/10",
    "synthetic:1/phone/11000-11199/10",
    "synthetic:1/webcam/12000-12199/10",
)
LAB_EVALUATE = ("synthetic:1/scan/13000-13199/5",)


@dataclasses.dataclass(frozen=True)
class TrainMint:
    """Options of train_mint.py.

    Attributes:
        head: the MINT model: vanilla (an MLP over the maximum of every channel), cnn (a convolution over the maps), or
            one of the paper's Table 7. cnn_third, cnn_x3 and cnn_x10 have a third of the cnn's parameters, 3 and 10
            times as many. In cnn_counted every filter sees one channel: its convolution has the 1.7K parameters that
            Table 7 prints; cnn_counted_third, _x3 and _x10 go with it. resnet50 and vit (ViT-B) want a GPU;
            resnet50_reduced and vit_reduced are small enough for a CPU.
        out: folder for the heads, scores.csv, results.jsonl and the manifest.
        taps: what the heads look at, each on its own: conv1 to conv4, stage1 to stage4, outcome. By default conv1 to
            conv4 and, for vanilla, the outcome; the conv (or stage) taps together make the combination. Where
            combination is named, it is conv1 to conv4, and no other heads are trained than those named. Heads of Table
            7 have no combination and look at conv1 by default, as there.
        audited: folder of the audited model, from train_audited.py. By default the committed lab model.
        protocol: folder of make_protocol.py, in place of the next six options; it says whether the externals were
            searched for members, and so does every table.
        members: samples the audited model was trained on: a folder with a subfolder per identity, a .rec file, a
            sample table or lab faces. By default members.parquet beside the model.
        externals: samples of other databases that the model was not trained on; the heads train on these. Needed
            unless the audited model is a lab model.
        evaluate: samples of databases that neither model nor heads saw. By default held-out people of the externals.
        held_out: people of the members' database whom the model never saw: the control that shows whether a score is
            membership. By default held_out.parquet beside the model, where there is one.
        num_train: training samples of each class at most.
        num_test: test samples of each kind at most.
        num_seeds: trainings of every head, with seeds --seed, --seed + 1 and so on, on the same samples. Heads on the
            untrained copy are trained with the first only.
        native_resolution: first shrink every image that is larger to so many pixels a side. A control: CIFAR-100 has
            32, so a model of 64 sees it blown up and other pictures not, and heads may tell them by that. 0 shrinks
            nothing.
        pooling: what vanilla heads take of every channel: max (the paper's), mean, std, or topk, the mean of the ten
            largest values.
        baselines: also score by what is no head: stability under mirroring and moving (four passes through the models
            in place of one), compactness of a person, distance to the statistics of batch normalisation, quantile
            regression, logistic regression. Without it the table has the length of the embedding only.
        literal: the vanilla head exactly as the paper prints it, without standardised inputs.
        aad: stored keeps what the taps give on the disk; live keeps the faces and runs the audited model, cut behind
            the tap, in front of the head in every epoch, for maps that fill the disk (401 KB a face for R100's conv1);
            auto measures disk and model and says why it takes one. Vanilla heads take vectors, which are always stored.
        store: folder of extract_aad.py that holds the AAD of these samples, with the untrained copy of this --seed.
        precision: of the audited model while it gives its AAD. mixed_bfloat16 is faster on a CPU with avx512_bf16,
            mixed_float16 on a GPU; auto measures for five seconds, takes the faster one if the cosine of every tap with
            float32 stays above 0.999, and says what it costs.
        xla: compile the audited model; faster for some residual networks, far slower for depthwise ones on a CPU.
        head_precision: in which heads are trained; mixed_float16 is for GPUs.
        head_xla: compile the training of heads; the same seed then no longer gives the same digits.
        seed: seed of every choice, of weights, batch order and dropout.
        overwrite: replace what --out holds instead of continuing or refusing.
        quiet: no progress bars.
    """

    head: specs.HeadName
    out: Path
    taps: tuple[str, ...] = ()
    audited: Path = zoo.LAB
    protocol: Path | None = None
    members: str = ""
    externals: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    held_out: str = ""
    num_train: int = 1500
    num_test: int = 500
    num_seeds: int = 1
    native_resolution: int = 0
    pooling: Literal["max", "mean", "std", "topk"] = "max"
    baselines: bool = False
    literal: bool = False
    aad: Literal["auto", "stored", "live"] = "auto"
    store: Path | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    xla: bool = False
    head_precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    head_xla: bool = False
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose AAD is ready: its options, and the protocol and AAD of the samples that could be used, row by row."""

    config: TrainMint
    protocol: protocols.Protocol
    aad: run_aad.RunAad


def open_run(config: TrainMint) -> Run:
    """Checks all inputs, opens the output folder, and extracts the AAD unless it is there already.

    Raises:
        InputError: if an input cannot be used; nothing has been written then.
        RefusedError: if the folder holds a run made from other inputs.
    """
    _check_options(config)
    taps = resolve_taps(config)
    model = zoo.load_audited(config.audited, zoo.kind_of(config.audited))
    needed = signals.available(model, taps) if config.baselines else ()
    shapes = taps_module.extractor(model, taps).output
    for group in tap_groups(config).values():  # shows early whether the heads fit the taps
        build_head(config, {tap: shapes[tap].shape[1:] for tap in group})
    protocol = make_protocol(config)
    _check_sizes(protocol)
    manifest = _make_manifest(config, protocol)
    inputs = manifest["inputs"]
    with formats.output_folder(config.out, manifest, config.overwrite):
        aad = run_aad.open_aad(_aad_options(config, taps, needed), inputs, protocol.table)
        protocol = protocol.take(np.isin(protocol.table.sample_id, aad.table.sample_id))
        _check_sizes(protocol)  # again: some samples may have been rejected
    return Run(config, protocol, aad)


def is_finished(config: TrainMint) -> bool:
    """Returns whether the output folder holds the results of exactly this run."""
    if not (config.out / formats.RESULTS).is_file():
        return False
    made = _make_manifest(config, make_protocol(config))
    return bool(formats.read_manifest(config.out, KIND)["fingerprint"] == made["fingerprint"])


def _make_manifest(config: TrainMint, protocol: protocols.Protocol) -> dict[str, Any]:
    inputs = {
        "audited": formats.sha256_file(config.audited / formats.MODEL),
        "samples": samples.fingerprint(protocol.table),
    }
    if config.protocol is not None:
        inputs["protocol"] = formats.sha256_file(config.protocol / protocol_stage.SUMMARY)
    if config.store is not None:
        inputs["store"] = formats.sha256_json(formats.read_manifest(config.store, store.KIND))
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_CONTENT}
    return formats.make_manifest(KIND, inputs, settings)


def _check_options(config: TrainMint) -> None:
    if specs.find(config.head).takes_maps:
        if config.literal:
            raise InputError(
                f"Expected --literal with the vanilla head only, which standardises its inputs; received {config.head}."
            )
        if config.baselines or config.pooling != pooling.MAX:
            raise InputError(
                f"Expected --baselines and --pooling with the vanilla head only: {config.head} takes maps."
            )
    if config.num_seeds < 1:
        raise InputError(f"Expected at least one seed, received --num-seeds {config.num_seeds}.")
    if config.baselines and config.pooling != pooling.MAX:
        raise InputError(f"Expected --baselines with --pooling max, which they look at, received {config.pooling}.")
    if config.baselines and not set(resolve_taps(config)) - {taps_module.OUTCOME}:
        raise InputError("Expected taps with maps for --baselines, received only outcome.")


def _aad_options(config: TrainMint, taps: list[str], needed: tuple[str, ...]) -> run_aad.AadOptions:
    return run_aad.AadOptions(
        folder=config.out,
        store=config.store,
        audited=config.audited,
        framing=framing(config),
        taps=tuple(taps),
        pooling="" if specs.find(config.head).takes_maps else config.pooling,
        signals=needed,
        source=config.aad,
        precision=config.precision,
        xla=config.xla,
        seed=config.seed,
        num_reads=specs.find(config.head).epochs * config.num_seeds * len(tap_groups(config)),
        quiet=config.quiet,
    )


def framing(config: TrainMint) -> images.Framing:
    """Returns what images become before the audited model of a run sees them."""
    return zoo.framing(config.audited, config.native_resolution)


def _check_sizes(protocol: protocols.Protocol) -> None:
    """Raises InputError now, not after hours, if training or an evaluation lacks samples."""
    batches.check_class_sizes(protocol.training_rows()[1])
    protocol.evaluations()


def reopen_run(folder: Path, quiet: bool) -> Run:
    """Opens the run that train_mint.py left in a folder.

    Raises:
        InputError: if there is none, or the inputs it was made from are gone.
        RefusedError: if they have changed.
    """
    manifest = formats.read_manifest(folder, KIND)
    return open_run(config_of(manifest, folder, quiet))


def config_of(manifest: dict[str, Any], folder: Path, quiet: bool) -> TrainMint:
    """Returns the options a run was made with."""
    stored = manifest["config"]
    expected = {field.name for field in dataclasses.fields(TrainMint)} - set(_NOT_CONTENT)
    if set(stored) != expected:
        raise InputError(
            f"Expected the options {sorted(expected)} in the manifest of {folder}, received {sorted(stored)}."
        )
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in stored.items()}
    values |= {"audited": Path(stored["audited"]), "out": folder, "quiet": quiet}
    values |= {name: Path(stored[name]) if stored[name] else None for name in ("protocol", "store")}
    return TrainMint(**values)


def make_protocol(config: TrainMint) -> protocols.Protocol:
    """Lists the samples the options name and chooses among them, or reads what make_protocol.py chose.

    Raises:
        InputError: if they cannot be used, or both are given.
    """
    if config.protocol is not None:
        if config.members or config.externals or config.evaluate or config.held_out:
            raise InputError("Expected --protocol, or samples by other options, received both.")
        return protocol_stage.read_protocol(config.protocol)[0]
    return protocols.make_protocol(_list_sources(config), config.num_train, config.num_test, config.seed)


def resolve_taps(config: TrainMint) -> list[str]:
    """Returns the taps whose AAD a run needs."""
    return list(dict.fromkeys(tap for group in tap_groups(config).values() for tap in group))


def tap_groups(config: TrainMint) -> dict[str, list[str]]:
    """Returns the heads of a run by name, with their taps: each tap, the combination, and it with the outcome."""
    spec = specs.find(config.head)
    taps = list(dict.fromkeys(config.taps)) or _default_taps(spec)
    if COMBINATION in taps:
        if not spec.combines:
            raise InputError(
                f"Expected single taps for {config.head}, which has no combination in the paper's Table 7."
            )
        return {tap: list(taps_module.CONV_TAPS) if tap == COMBINATION else [tap] for tap in taps}
    groups = {tap: [tap] for tap in taps}
    maps = [tap for tap in taps if tap != taps_module.OUTCOME]
    if len(maps) > 1 and spec.combines:
        groups[COMBINATION] = maps
        if taps_module.OUTCOME in taps:
            groups[COMBINATION_OUTCOME] = [*maps, taps_module.OUTCOME]
    return groups


def _default_taps(spec: specs.HeadSpec) -> list[str]:
    if not spec.combines:
        return [taps_module.CONV_TAPS[0]]
    return [*taps_module.CONV_TAPS, *([] if spec.takes_maps else [taps_module.OUTCOME])]


def build_head(config: TrainMint, shapes: Mapping[str, tuple[int, ...]]) -> keras.Model:
    """Builds the head of a run for some taps."""
    build = specs.find(config.head).build
    return build(shapes, literal=True) if config.literal else build(shapes)


@dataclasses.dataclass(frozen=True)
class HeadKey:
    """Which head of a run: through which model, on which tap or combination, from which seed."""

    model: str
    name: str
    seed: int


def head_keys(config: TrainMint) -> list[HeadKey]:
    """Returns all heads of a run. The untrained copy is a control: one training of each head shows what it gives."""
    seeds = {AUDITED: range(config.seed, config.seed + config.num_seeds), UNTRAINED: [config.seed]}
    return [HeadKey(model, name, seed) for model in seeds for seed in seeds[model] for name in tap_groups(config)]


def head_path(config: TrainMint, key: HeadKey) -> Path:
    """Returns where a head lies; those of the run's own seed have no seed in their path."""
    model = key.model if key.seed == config.seed else f"{key.model}_seed{key.seed}"
    return config.out / "heads" / model / key.name / formats.HEAD


def load_head(path: Path) -> keras.Model:
    """Loads a head."""
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(f"Expected a head in {path}, received: {error}") from error


def fit_heads(run: Run) -> None:
    """Trains the heads that are missing."""
    missing = [key for key in head_keys(run.config) if not head_path(run.config, key).is_file()]
    total = len(missing) * specs.find(run.config.head).epochs
    with tqdm(total=total, desc="heads", unit="epoch", disable=run.config.quiet, **pace()) as bar:
        for key in missing:
            bar.set_postfix_str(f"{key.name}, {key.model}, seed {key.seed}")
            _fit_head(run, key, bar.update)


def _fit_head(run: Run, key: HeadKey, on_epoch: Callable[[int], object]) -> None:
    config, taps = run.config, tap_groups(run.config)[key.name]
    path = head_path(config, key)
    rows, is_member = run.protocol.training_rows()
    checkpoints.seed_everything(key.seed, is_deterministic=not config.head_xla)
    head = build_head(config, run.aad.shapes(taps))
    trained = head_training.place_head(head, config.head_precision, runtime.strategy())
    data = batches.LabelledAad(run.aad.features(key.model, taps), rows, is_member)
    settings = head_training.HeadTraining(specs.find(config.head).epochs, key.seed, config.head_xla)
    head_training.fit_head(run.aad.in_front(trained, key.model, taps), data, settings, path.parent, on_epoch)
    if trained is not head:
        head.set_weights(trained.get_weights())
    formats.save_model(path, head)


def evaluate_heads(run: Run) -> tuple[list[Scores], list[ResultRow]]:
    """Evaluates every head by `model.evaluate` and by its scores, on every evaluation of the protocol."""
    parts: list[tuple[Scores, ResultRow]] = []
    evaluations = run.protocol.evaluations()
    groups, keys = tap_groups(run.config), head_keys(run.config)
    for key in tqdm(keys, desc="evaluate", unit="head", disable=run.config.quiet, **pace()):
        head = load_head(head_path(run.config, key))
        logits = run.aad.in_front(head_training.logit_model(head), key.model, groups[key.name])
        whole = run.aad.in_front(head, key.model, groups[key.name])
        head_training.compile_head(whole)
        features = run.aad.features(key.model, groups[key.name])
        for evaluation, (rows, is_member) in evaluations.items():
            data = batches.LabelledAad(features, rows, is_member)
            figures, logit = head_training.evaluate_head(whole, logits, data)
            scorer = run_aad.scorer_name(run.config.head, key.model)
            scores = Scores(scorer, key.name, evaluation, key.seed, run.protocol.table.take(rows), is_member, logit)
            parts.append((scores, results.summarise(scores, figures)))
    by_baselines = run_baselines.evaluate(run.protocol, run.aad, baseline_names(run), groups, run.config.seed)
    parts += [(scores, results.summarise(scores)) for scores in by_baselines]
    return [scores for scores, _ in parts], [result for _, result in parts]


def baseline_names(run: Run) -> list[str]:
    """Returns the baselines that stand beside the heads of a run."""
    return run_baselines.choose(run.aad, run.config.baselines)


def _list_sources(config: TrainMint) -> protocols.Sources:
    manifest = formats.read_manifest(config.audited, zoo.kind_of(config.audited))
    externals, evaluate = config.externals, config.evaluate
    if not externals:
        if not synthetic.is_synthetic(str(manifest["config"].get("data"))):
            raise InputError(f"Expected --externals: samples that {config.audited} was not trained on, received none.")
        externals, evaluate = LAB_EXTERNALS, evaluate or LAB_EVALUATE
    held_out = config.held_out or str(config.audited / formats.HELD_OUT)
    has_held_out = bool(config.held_out) or Path(held_out).is_file()
    return protocols.Sources(
        members=samples.list_samples(config.members or str(config.audited / formats.MEMBERS)),
        externals=samples.list_all(externals),
        evaluate=samples.list_all(evaluate) if evaluate else None,
        held_out=samples.list_samples(held_out) if has_held_out else None,
    )
