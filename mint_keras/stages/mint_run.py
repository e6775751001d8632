"""A MINT run on disk: what training, evaluation and export of heads share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from mint_keras import formats
from mint_keras.aad import signals, store
from mint_keras.audited import runtime, zoo
from mint_keras.audited import taps as taps_module
from mint_keras.data import protocol as protocols
from mint_keras.data import samples, synthetic
from mint_keras.heads import specs
from mint_keras.records import InputError, ResultRow, Scores
from mint_keras.stages import make_protocol as protocol_stage
from mint_keras.stages import mint_options, run_aad, run_baselines
from mint_keras.stages.mint_options import TrainMint
from mint_keras.stages.progress import pace
from mint_keras.statistics import results
from mint_keras.training import batches, checkpoints
from mint_keras.training import fit_heads as head_training

KIND = "mint_run"

LAB_EXTERNALS = (
    "synthetic:1/news/10000-10199/10",
    "synthetic:1/phone/11000-11199/10",
    "synthetic:1/webcam/12000-12199/10",
)
LAB_EVALUATE = ("synthetic:1/scan/13000-13199/5",)


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
    mint_options.check_options(config)
    taps = mint_options.resolve_taps(config)
    model = zoo.load_audited(config.audited, zoo.kind_of(config.audited))
    needed = signals.available(model, taps) if config.baselines else ()
    shapes = taps_module.extractor(model, taps).output
    for group in mint_options.tap_groups(config).values():  # shows early whether the heads fit the taps
        mint_options.build_head(config, {tap: shapes[tap].shape[1:] for tap in group})
    protocol = make_protocol(config)
    _check_sizes(protocol)
    manifest = _make_manifest(config, protocol)
    inputs = manifest["inputs"]
    with formats.output_folder(config.out, manifest, config.overwrite):
        aad = run_aad.open_aad(aad_options(config, taps, needed, config.seed), inputs, protocol.table)
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
    return formats.make_manifest(KIND, inputs, mint_options.content(config))


def aad_options(
    config: TrainMint, taps: list[str], needed: tuple[str, ...], untrained_seed: int | None
) -> run_aad.AadOptions:
    """Returns what a run wants of its AAD.

    Args:
        config: of the run.
        taps: what its heads and baselines look at.
        needed: signals, see `signals.available`.
        untrained_seed: of the untrained copy beside the audited model; None for no copy.
    """
    return run_aad.AadOptions(
        folder=config.out,
        store=config.store,
        audited=config.audited,
        framing=mint_options.framing(config),
        taps=tuple(taps),
        pooling="" if specs.find(config.head).takes_maps else config.pooling,
        signals=needed,
        source=config.aad,
        precision=config.precision,
        xla=config.xla,
        untrained_seed=untrained_seed,
        num_reads=specs.find(config.head).epochs * config.num_seeds * len(mint_options.tap_groups(config)),
        quiet=config.quiet,
    )


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
    return open_run(mint_options.config_of(manifest, folder, quiet))


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


def load_head(path: Path) -> keras.Model:
    """Loads a head."""
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise InputError(f"Expected a head in {path}, received: {error}") from error


def fit_heads(run: Run, keys: Sequence[mint_options.HeadKey]) -> None:
    """Trains those of the heads that are missing."""
    missing = [key for key in keys if not mint_options.head_path(run.config, key).is_file()]
    total = len(missing) * specs.find(run.config.head).epochs
    with tqdm(total=total, desc="heads", unit="epoch", disable=run.config.quiet, **pace()) as bar:
        for key in missing:
            bar.set_postfix_str(f"{key.name}, {key.model}, seed {key.seed}")
            _fit_head(run, key, bar.update)


def _fit_head(run: Run, key: mint_options.HeadKey, on_epoch: Callable[[int], object]) -> None:
    config, taps = run.config, mint_options.tap_groups(run.config)[key.name]
    path = mint_options.head_path(config, key)
    rows, is_member = run.protocol.training_rows()
    checkpoints.seed_everything(key.seed, is_deterministic=not config.head_xla)
    head = mint_options.build_head(config, run.aad.shapes(taps))
    trained = head_training.place_head(head, config.head_precision, runtime.strategy())
    data = batches.LabelledAad(run.aad.features(key.model, taps), rows, is_member)
    settings = head_training.HeadTraining(specs.find(config.head).epochs, key.seed, config.head_xla)
    head_training.fit_head(run.aad.in_front(trained, key.model, taps), data, settings, path.parent, on_epoch)
    if trained is not head:
        head.set_weights(trained.get_weights())
    formats.save_model(path, head)


def evaluate_heads(run: Run) -> tuple[list[Scores], list[ResultRow]]:
    """Evaluates every head by `model.evaluate` and by its scores, and every baseline, on all evaluations."""
    parts: list[tuple[Scores, ResultRow]] = []
    evaluations, keys = run.protocol.evaluations(), mint_options.head_keys(run.config)
    for key in tqdm(keys, desc="evaluate", unit="head", disable=run.config.quiet, **pace()):
        parts += evaluate_head(run, key, evaluations)
    groups = mint_options.tap_groups(run.config)
    by_baselines = run_baselines.evaluate(run.protocol, run.aad, baseline_names(run), groups, run.config.seed)
    parts += [(scores, results.summarise(scores)) for scores in by_baselines]
    return [scores for scores, _ in parts], [result for _, result in parts]


def evaluate_head(
    run: Run, key: mint_options.HeadKey, evaluations: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> list[tuple[Scores, ResultRow]]:
    """Evaluates a head on rows of the run's table, with their membership, by the evaluation's name.

    Evaluations share samples; each sample passes through the head once.
    """
    config, taps = run.config, mint_options.tap_groups(run.config)[key.name]
    head = load_head(mint_options.head_path(config, key))
    rows = np.unique(np.concatenate([of_evaluation for of_evaluation, _ in evaluations.values()]))
    data = batches.LabelledAad(run.aad.features(key.model, taps), rows, np.zeros(len(rows), bool))
    logits = run.aad.in_front(head_training.logit_model(head), key.model, taps)
    found = np.empty(len(run.protocol.table), np.float32)
    found[rows] = head_training.predict_logits(logits, data)
    scorer, parts = run_aad.scorer_name(config.head, key.model), []
    for evaluation, figures in head_training.evaluate_logits(head, found, evaluations).items():
        chosen, is_member = evaluations[evaluation]
        table = run.protocol.table.take(chosen)
        scores = Scores(scorer, key.name, evaluation, key.seed, table, is_member, found[chosen])
        parts.append((scores, results.summarise(scores, figures)))
    return parts


def baseline_names(run: Run) -> list[str]:
    """Returns the baselines that stand beside the heads of a run."""
    return run_baselines.choose(run.aad, run.config.baselines)


def _with_explicit_samples(config: TrainMint) -> TrainMint:
    """Returns options that name all their samples, so that they choose the same ones with another audited model.

    Raises:
        InputError: if there are no externals.
    """
    if config.protocol is not None:
        return config
    manifest = formats.read_manifest(config.audited, zoo.kind_of(config.audited))
    externals, evaluate = config.externals, config.evaluate
    if not externals:
        if not synthetic.is_synthetic(str(manifest["config"].get("data"))):
            raise InputError(f"Expected --externals: samples that {config.audited} was not trained on, received none.")
        externals, evaluate = LAB_EXTERNALS, evaluate or LAB_EVALUATE
    held_out = config.audited / formats.HELD_OUT
    return dataclasses.replace(
        config,
        members=config.members or str(config.audited / formats.MEMBERS),
        externals=externals,
        evaluate=evaluate,
        held_out=config.held_out or (str(held_out) if held_out.is_file() else ""),
    )


def _list_sources(config: TrainMint) -> protocols.Sources:
    explicit = _with_explicit_samples(config)
    return protocols.Sources(
        members=samples.list_samples(explicit.members),
        externals=samples.list_all(explicit.externals),
        evaluate=samples.list_all(explicit.evaluate) if explicit.evaluate else None,
        held_out=samples.list_samples(explicit.held_out) if explicit.held_out else None,
    )
