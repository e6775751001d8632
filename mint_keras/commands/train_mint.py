r"""Train MINT heads: was this face used to train that model?

Draws members and externals, extracts what the audited model's taps give for them, trains a head per tap and for the
combination, and evaluates them with model.evaluate. The table has three columns of controls beside the paper's
number. With no more than --head and --out it runs on the lab model of this repository.

Examples:
    python scripts/train_mint.py --head vanilla --out runs/lab-vanilla
    python scripts/train_mint.py --head vanilla --audited runs/lfw-audited --externals utkface --evaluate generated \
        --out runs/lfw-vanilla
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mint_keras import formats
from mint_keras.commands import Result
from mint_keras.heads.names import HeadName
from mint_keras.options import Common
from mint_keras.records import ResultRow, Scores
from mint_keras.shelf import LAB


@dataclasses.dataclass(frozen=True)
class TrainMint(Common):
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
    """

    head: HeadName
    out: Path
    taps: tuple[str, ...] = ()
    audited: Path = LAB
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


@dataclasses.dataclass(frozen=True)
class Trained(Result):
    """What a run gave.

    Attributes:
        out: The folder of the run.
        scores: The content of scores.csv.
        results: The content of results.jsonl.
    """

    out: Path
    scores: Sequence[Scores]
    results: Sequence[ResultRow]


def train_mint(options: TrainMint) -> Trained:
    """Extracts AAD, trains a head per tap and combination, and evaluates them."""
    from mint_keras.runs import report
    from mint_keras.runs.spec import RunSpec

    spec = RunSpec(
        head=options.head,
        audited=options.audited,
        taps=options.taps,
        protocol=options.protocol,
        members=options.members,
        externals=options.externals,
        evaluate=options.evaluate,
        held_out=options.held_out,
        num_train=options.num_train,
        num_test=options.num_test,
        num_seeds=options.num_seeds,
        native_resolution=options.native_resolution,
        pooling=options.pooling,
        baselines=options.baselines,
        literal=options.literal,
        aad=options.aad,
        store=options.store,
        precision=options.precision,
        xla=options.xla,
        head_precision=options.head_precision,
        head_xla=options.head_xla,
        seed=options.seed,
    )
    opened, scores, results = report.train(spec, options.out, options.overwrite)
    written = f"Written: {options.out / formats.RESULTS}, {formats.SCORES}, heads/, roc.png, roc_controls.png"
    said = [report.describe(opened), report.summary(opened, results), *report.warn_of_dead_heads(scores), written]
    return Trained("\n\n".join(said), options.out, scores, results)
