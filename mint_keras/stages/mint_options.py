"""What a MINT run is asked for: the options of train_mint.py, and the heads that follow from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras

from mint_keras import formats
from mint_keras.aad import pooling
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.data import images
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError

COMBINATION, COMBINATION_OUTCOME = "combination", "combination+outcome"
_NOT_CONTENT = ("out", "overwrite", "quiet")


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


def content(config: TrainMint) -> dict[str, Any]:
    """Returns what of the options decides the content of a run, for its manifest."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in _NOT_CONTENT}


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


def framing(config: TrainMint) -> images.Framing:
    """Returns what images become before the audited model of a run sees them."""
    return zoo.framing(config.audited, config.native_resolution)


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


def check_options(config: TrainMint) -> None:
    """Raises InputError for options that contradict each other."""
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
