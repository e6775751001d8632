r"""Train MINT heads: was this face used to train that model?

Draws members and externals, extracts what the audited model's taps give for them, trains a head per tap and for the
combination, and evaluates them with model.evaluate. The table has three columns of controls beside the paper's
number. With no more than --head and --out it runs on the lab model of this repository.

Examples:
    python scripts/train_mint.py --head vanilla --out runs/lab-vanilla
    python scripts/train_mint.py --head vanilla --audited runs/lfw-audited --externals utkface --evaluate generated \
        --out runs/lfw-vanilla
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mint_keras import formats
from mint_keras.commands import Result, spec_of
from mint_keras.heads.names import HeadName
from mint_keras.options import Common
from mint_keras.records import ResultRow, Scores
from mint_keras.shelf import LAB


@dataclasses.dataclass(frozen=True)
class TrainMint(Common):
    """Options of train_mint.py.

    Attributes:
        head: The MINT model. vanilla is an MLP over the maximum of every channel, cnn a convolution over the maps. The
            others are the paper's Table 7: cnn_third, cnn_x3 and cnn_x10 have a third of the cnn's parameters, 3 and
            10 times as many. In cnn_counted every filter sees one channel: its convolution has the 1.7K parameters
            that Table 7 prints; cnn_counted_third, _x3 and _x10 go with it. resnet50 and vit (ViT-B) want a GPU;
            resnet50_reduced and vit_reduced are small enough for a CPU.
        out: Folder for the heads, scores.csv, results.jsonl and the manifest.
        taps: What the heads look at, each on its own: conv1 to conv4, stage1 to stage4, outcome. By default they look
            at those of conv1 to conv4 that the model has and, for vanilla, the outcome; the conv (or stage) taps
            together make the combination. Where combination is named, it is of the conv taps, and no other heads are
            trained than those named. Heads of Table 7 have no combination and look at conv1 by default, as there.
        audited: Folder of train_audited.py or convert_fr.py, or a name of the shelf, such as dlib; by default lab.
        protocol: Folder of make_protocol.py, in place of the next six options. It says whether the externals were
            searched for members, and so does every table.
        members: Samples that the audited model was trained on: a folder with a subfolder per identity, a .rec file, a
            sample table or lab faces. The default is members.parquet beside the model.
        externals: Samples of other databases that the model was not trained on; the heads train on these. They are
            needed unless the audited model is a lab model.
        evaluate: Samples of databases that neither model nor heads saw. By default people of the externals are held
            out.
        held_out: People of the members' database whom the model never saw: the control that shows whether a score is
            membership. The default is held_out.parquet beside the model, where there is one.
        num_train: How many samples of each class train the heads, at most.
        num_test: How many samples of each kind evaluate them, at most.
        num_seeds: How often every head is trained on the same samples, with seeds --seed, --seed + 1 and so on: heads
            of few samples differ widely, and one of them says little. Heads on maps, which take minutes each, are
            trained on the untrained copy with the first seed only.
        native_resolution: Shrink every image that is larger to so many pixels a side first; 0 shrinks nothing. This is
            a control: CIFAR-100 has 32 pixels, so a model of 64 sees it blown up and other pictures not, and heads may
            tell them by that.
        pooling: What vanilla heads take of every channel: max (the paper's), mean, std, or topk, the mean of the ten
            largest values.
        baselines: Score also by what is no head: stability under mirroring and moving (four passes through the models
            in place of one), compactness of a person, distance to the statistics of batch normalisation, quantile
            regression, logistic regression. Without it the table has the length of the embedding only.
        literal: Train exactly as the paper prints it: the vanilla head without standardised inputs; cnn heads without
            the warm-up of their first 24 steps, without which many die, and without a second training of those that
            die all the same.
        aad: Where the AAD comes from. stored keeps what the taps give on the disk; live keeps the faces and runs the
            audited model, cut behind the tap, in front of the head in every epoch, for maps that fill the disk (401 KB
            a face for R100's conv1); auto measures disk and model and says why it takes one. Vanilla heads take
            vectors, which are always stored.
        store: Folder of extract_aad.py that holds the AAD of these samples, with the untrained copy of this --seed.
        precision: Precision of the audited model while it gives its AAD. mixed_bfloat16 is faster on a CPU with
            avx512_bf16, mixed_float16 on a GPU; auto measures for five seconds, takes the faster one if the cosine of
            every tap with float32 stays above 0.999, and says what it costs.
        backend: Who runs the audited model in float32. auto measures Keras, ONNX Runtime, LiteRT, OpenVINO if it is
            installed, and Keras under XLA on this CPU for at most five seconds, as far as the job is long enough to
            pay for their start, takes the fastest that gives Keras' numbers at every tap to 1e-5, and keeps to it; on
            a GPU it is Keras. Two runs of the same seed give the same digits by the same engine only: name one.
        xla: Compile the audited model. This is faster for some residual networks, far slower for depthwise ones on a
            CPU.
        head_precision: Precision in which heads are trained; mixed_float16 is for GPUs.
        head_xla: Compile the training of heads; the same seed then no longer gives the same digits.
        seed: Seed of every choice, of weights, batch order and dropout.
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
    num_seeds: int = 3
    native_resolution: int = 0
    pooling: Literal["max", "mean", "std", "topk"] = "max"
    # A switch: they take three more passes through the models.
    baselines: bool = False
    literal: bool = False
    aad: Literal["auto", "stored", "live"] = "auto"
    store: Path | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    backend: Literal["auto", "keras", "onnxruntime", "litert", "openvino"] = "auto"
    xla: bool = False
    head_precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    # XLA and deterministic kernels exclude each other in TensorFlow.
    head_xla: bool = False
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Trained(Result):
    """What a run gave: its folder, and the content of its scores.csv and results.jsonl."""

    out: Path
    scores: Sequence[Scores]
    results: Sequence[ResultRow]


def train_mint(options: TrainMint) -> Trained:
    """Extracts AAD, trains a head per tap and combination, and evaluates them."""
    from mint_keras.runs import report
    from mint_keras.runs.spec import RunSpec

    spec = spec_of(RunSpec, options)
    is_shown = not options.overwrite and (options.out / report.TABLE).is_file()
    with formats.alone(options.out):  # for the heads too, which come after what opens the folder
        opened, scores, results, table = report.train(spec, options.out, options.overwrite)
    written = (
        f"Written: {options.out / formats.RESULTS}, {formats.SCORES}, {report.TABLE}, heads/, roc.png, roc_controls.png"
    )
    said = [
        report.describe(opened),
        report.summary(opened, results, table),
        *report.warn_of_dead_heads(scores),
        f"Finished before, shown again. {written}" if is_shown else written,
    ]
    return Trained("\n\n".join(said), options.out, scores, results)
