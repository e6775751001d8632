"""A MINT run on disk: its heads are trained where they are missing, and evaluated together with the baselines."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress, streams
from mint_keras.aad import signals, store
from mint_keras.audited import taps as taps_module
from mint_keras.audited import zoo
from mint_keras.borders import read_csv
from mint_keras.data import protocol as protocols
from mint_keras.data import protocol_files, samples, splits, synthetic
from mint_keras.heads import specs
from mint_keras.records import AUDITED, UNTRAINED, InputError, RefusedError, ResultRow, Scores
from mint_keras.report import preflight
from mint_keras.runs import aad as run_aad
from mint_keras.runs.spec import KIND, PLACES, HeadKey, RunSpec, read_spec
from mint_keras.scorers import baselines, head
from mint_keras.scorers.contract import Needs, Scorer
from mint_keras.statistics.figures import summarise
from mint_keras.training import batches, together

_STEP = 4  # counts changes of how heads on vectors train, to the last bit: those of two are not mixed in a run
DIED = "died.json"  # beside a head: how often its training failed before
# Databases among which heads depend little on their seed (docs/results/lab.md); of each, as many people.
LAB_EXTERNALS = tuple(f"synthetic:1/camera{k}/{20000 + 100 * k}-{20049 + 100 * k}/10" for k in range(1, 13))
LAB_EVALUATE = ("synthetic:1/scan/13000-13199/5",)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose AAD is ready."""

    spec: RunSpec
    folder: Path  # where its heads and scores lie
    protocol: protocols.Protocol  # the samples that could be used, and who plays which part
    aad: run_aad.RunAad  # what the models gave for these samples, row by row


def heads_of(spec: RunSpec) -> dict[str, head.Head]:
    """Returns the heads that a run trains, by the name of what they look at."""
    return {
        name: head.Head(spec.head, tuple(group), name, spec.pooling, spec.literal, spec.head_precision, spec.head_xla)
        for name, group in spec.groups.items()
    }


def open_run(spec: RunSpec, folder: Path, overwrite: bool = False) -> Run:
    """Checks all inputs, opens the output folder, and extracts the AAD unless it is there already.

    Raises:
        InputError: if an input cannot be used; nothing has been written then.
        RefusedError: if the folder holds a run made from other inputs.
    """
    spec.check()
    taps = spec.all_taps
    model = zoo.load_audited(spec.audited, zoo.kind_of(spec.audited))
    needed = signals.available(model, taps) if spec.baselines else ()
    shapes = taps_module.extractor(model, taps).output
    for recipe in heads_of(spec).values():  # shows early whether the heads fit the taps
        recipe.build({tap: shapes[tap].shape[1:] for tap in recipe.taps})
    protocol = choose_samples(spec)
    _check_sizes(protocol)
    if not (folder / formats.MANIFEST).is_file():  # what follows may take hours, and its audit may decide nothing
        progress.say(preflight.describe(preflight.of_protocol(protocol, zoo.kind_of(spec.audited) == zoo.KIND)))
    manifest = _manifest(spec, protocol, folder)
    with formats.output_folder(folder, manifest, overwrite):
        needs = Needs(tuple(taps), "" if specs.find(spec.head).takes_maps else spec.pooling, needed)
        aad = run_aad.open_aad(spec, needs, folder, manifest["inputs"], protocol.table, spec.seed)
        used = protocol.take(np.isin(protocol.table.sample_id, aad.table.sample_id))
        try:
            _check_sizes(used)  # again: some samples may have been rejected
        except InputError as error:  # the folder goes, with its list of them
            reasons = read_csv((spec.store or folder / "aad") / formats.REJECTED)["reason"]
            why, num = Counter(reason.partition(", received")[0] for reason in reasons).most_common(1)[0]
            said = f"{len(reasons):,} samples were rejected, {num:,} of them for: {why}. mint prepare cuts out faces."
            raise InputError(f"{error} {said}") from error
    return Run(spec, folder, used, aad)


def reopen(folder: Path) -> Run:
    """Opens the run that a folder holds.

    Raises:
        InputError: if there is none, or the inputs it was made from are gone.
        RefusedError: if they have changed, or another version of mint_keras trained it.
    """
    try:
        return open_run(read_spec(folder), folder)
    except RefusedError as error:
        raise RefusedError(
            f"{folder} was trained by an earlier version of mint_keras, or what it was made from has changed since. "
            "Train it again, into another folder."
        ) from error


def is_finished(spec: RunSpec, folder: Path) -> bool:
    """Returns whether a folder holds the results of exactly this run."""
    if not (folder / formats.RESULTS).is_file():
        return False
    made = _manifest(spec, choose_samples(spec), folder)
    return bool(formats.read_manifest(folder, KIND)["fingerprint"] == made["fingerprint"])


def _manifest(spec: RunSpec, protocol: protocols.Protocol, folder: Path) -> dict[str, Any]:
    inputs = {
        "audited": formats.sha256_file(spec.model_folder / formats.MODEL),
        "samples": samples.fingerprint(protocol.table),
    }
    if spec.protocol is not None:
        inputs["protocol"] = formats.sha256_file(spec.protocol / protocol_files.SUMMARY)
    if spec.store is not None:
        inputs["store"] = formats.sha256_json(formats.read_manifest(spec.store, store.KIND))
    inputs["parts"] = formats.sha256_json(protocol.part.tolist())
    # What decides the run is what its inputs are, see above; where they lie is only said.
    decisive = {name: value for name, value in spec.settings().items() if name not in PLACES}
    if not specs.find(spec.head).takes_maps:
        decisive["step"] = _STEP
    return {**formats.make_manifest(KIND, inputs, decisive), "config": spec.stored(folder)}


def _check_sizes(protocol: protocols.Protocol) -> None:
    """Raises InputError now, not after hours, if training or an evaluation lacks samples."""
    batches.check_class_sizes(protocol.training_rows().is_member)
    protocol.evaluations()


def choose_samples(spec: RunSpec) -> protocols.Protocol:
    """Lists the samples that a run names and chooses among them, or reads what make_protocol.py chose.

    Raises:
        InputError: if they cannot be used, if both are given, or if there are no externals.
    """
    if spec.protocol is not None:
        if spec.members or spec.externals or spec.evaluate or spec.held_out:
            raise InputError("Expected --protocol, or samples by other options, received both.")
        return protocol_files.read_protocol(spec.protocol)[0]
    named = named_samples(spec)
    members = samples.list_samples(named["members"][0])
    held_out = samples.list_samples(named["held_out"][0]) if named["held_out"] else None
    if held_out is not None:
        samples.check_databases([(named["members"][0], members), (named["held_out"][0], held_out)])
    if held_out is not None and not spec.held_out:  # the model's own, of another database than members may be named of
        held_out = held_out.take(np.isin(held_out.database, np.unique(members.database)))
    sources = protocols.Sources(
        members=members,
        externals=samples.list_all(named["externals"]),
        evaluate=samples.list_all(named["evaluate"]) if named["evaluate"] else None,
        held_out=held_out if held_out is not None and len(held_out) else None,
    )
    return protocols.make_protocol(sources, spec.num_train, spec.num_test, spec.seed)


def named_samples(spec: RunSpec) -> dict[str, tuple[str, ...]]:
    """Returns what samples a run without a protocol takes, as `samples.list_samples` takes them, by their part.

    Raises:
        InputError: if there are no externals.
    """
    externals, evaluate = spec.externals, spec.evaluate
    manifest = formats.read_manifest(spec.model_folder, zoo.kind_of(spec.audited))
    if not externals:
        if not synthetic.is_synthetic(str(manifest["config"].get("data"))):
            raise InputError(f"Expected --externals: samples that {spec.audited} was not trained on, received none.")
        externals, evaluate = LAB_EXTERNALS, evaluate or LAB_EVALUATE
    listed = spec.model_folder / formats.HELD_OUT
    held_out = spec.held_out or (str(listed) if listed.is_file() else "")
    members = spec.members or str(spec.model_folder / formats.MEMBERS)
    return {
        "members": (members,), "externals": externals, "evaluate": evaluate,
        "held_out": (held_out,) if held_out else (),
    }  # fmt: skip


def fit_heads(run: Run, keys: Sequence[HeadKey]) -> dict[HeadKey, head.FittedHead]:
    """Trains those of the heads that are missing, small ones together as far as memory holds their data."""
    spec, recipes = run.spec, heads_of(run.spec)
    paths = {key: path for key in keys if not (path := key.path(run.folder, spec.seed)).is_file()}
    rows, is_member = run.protocol.training_rows()
    seen = {model: run.aad.seen(model).take(rows) for model in dict.fromkeys(key.model for key in paths)}
    made: dict[HeadKey, head.FittedHead] = {}
    parts: list[list[HeadKey]] = []
    held = 0
    with progress.bar(total=len(paths) * specs.find(spec.head).epochs, desc="heads", unit="epoch") as bar:
        for key in sorted(paths, key=lambda key: list(recipes).index(key.name)):
            recipe, front = recipes[key.name], run.aad.front(key.model, recipes[key.name].taps)
            inputs = recipe.inputs(seen[key.model], front is not None)
            if front is not None or not recipe.trains_together(inputs):
                fitted = recipe.fit(seen[key.model], is_member, key.seed, paths[key].parent, front, bar.update)
                if fitted.num_dead:
                    formats.write_json(paths[key].parent / DIED, {"trainings": fitted.num_dead})
                fitted.save(paths[key])
                made[key] = fitted
                continue
            size = sum(map(batches.num_bytes, inputs.values()))
            if parts and (parts[-1][-1].model, parts[-1][-1].name) == (key.model, key.name):
                size = 0  # trainings from other seeds share it
            if not parts or held + size > batches.HELD_BYTES:
                parts.append([])
                held = 0
            parts[-1].append(key)
            held += size
        for part in parts:
            wanted = [head.Wanted(recipes[k.name], seen[k.model], k.seed, paths[k].parent) for k in part]
            trained = head.fit_together(wanted, is_member, run.folder / "heads", bar.update)
            for key, fitted in zip(part, trained, strict=True):
                fitted.save(paths[key])
                made[key] = fitted
            (run.folder / "heads" / together.CHECKPOINT).unlink(missing_ok=True)
    return made


def load_head(run: Run, key: HeadKey) -> head.FittedHead:
    """Loads a head of a run."""
    recipe = heads_of(run.spec)[key.name]
    model = head.load_model(key.path(run.folder, run.spec.seed))
    return head.FittedHead(recipe, model, key.seed, run.aad.front(key.model, recipe.taps))


def evaluate(run: Run, made: Mapping[HeadKey, head.FittedHead] = {}) -> tuple[list[Scores], list[ResultRow]]:
    """Evaluates every head by `model.evaluate` and by its scores, and every baseline, on all evaluations.

    Heads that `fit_heads` has just made need not be loaded.
    """
    parts: list[tuple[Scores, ResultRow]] = []
    evaluations = run.protocol.evaluations()
    for key in progress.bar(run.spec.keys, desc="evaluate", unit="head"):
        parts += (made.get(key) or load_head(run, key)).judge(run.aad.seen(key.model), evaluations, key.model)
    for recipe in baselines.scorers_of(baseline_names(run), run.spec.groups):
        for model in filter(run.aad.models.__contains__, (AUDITED, UNTRAINED)):
            found = fit_and_score(recipe, run.aad, model, run.protocol, run.spec.seed)
            parts += [(scores, summarise(scores)) for scores in found]
    return [scores for scores, _ in parts], [result for _, result in parts]


def baseline_names(run: Run) -> list[str]:
    """Returns the baselines beside the heads of a run: all that the audited model allows, or the one for free."""
    if not run.spec.baselines:
        return [baselines.EMBEDDING_NORM] if taps_module.OUTCOME in run.spec.all_taps else []
    lacking = {signals.STABILITY, signals.BN_DISTANCE} - set(run.aad.seen(AUDITED).arrays)
    return [name for name, baseline in baselines.BASELINES.items() if not lacking & set(baseline.inputs)]


def fit_and_score(
    scorer: Scorer,
    aad: run_aad.RunAad,
    model: str,
    protocol: protocols.Protocol,
    seed: int,
    folder: Path | None = None,
) -> list[Scores]:
    """Fits a scorer on the training samples of a protocol and scores its evaluations.

    Args:
        scorer: The recipe.
        aad: What models gave for the samples of the protocol, row by row.
        model: Which of the models is looked through.
        protocol: Who trains, and who is compared with whom.
        seed: Seeds the fit.
        folder: Where the checkpoint of a long training goes.

    Returns:
        Scores of what could be scored, as many members as externals; nothing for an evaluation without any.
    """
    rows, is_member = protocol.training_rows()
    seen, found = aad.seen(model), []
    if isinstance(scorer, head.Head):
        trained = scorer.fit(seen.take(rows), is_member, seed, folder, aad.front(model, scorer.taps))
        return [scores for scores, _ in trained.judge(seen, protocol.evaluations(), model)]
    fitted = scorer.fit(seen.take(rows), is_member, seed)
    for evaluation, (rows, is_member) in protocol.evaluations().items():
        # Each evaluation on its own: some baselines compare the photos of a person with one another.
        logit = fitted(seen.take(rows))
        is_scored = np.isfinite(logit)
        kept = np.arange(len(rows))
        if not is_scored.all():  # both sides lose as many, so that they stay equal
            sides = (np.flatnonzero(is_scored & is_member), np.flatnonzero(is_scored & ~is_member))
            kept = np.concatenate(splits.balance(*sides, streams.stream(seed, streams.BASELINES)))
        if len(kept):
            table = protocol.table.take(rows[kept])
            found.append(Scores(scorer.name, scorer.tap, evaluation, seed, table, is_member[kept], logit[kept], model))
    return found
