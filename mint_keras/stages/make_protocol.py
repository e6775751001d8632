"""Stage: who trains the heads and who evaluates them, written down before anything is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mint_keras import formats
from mint_keras.data import cases, samples, tables
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, RefusedError, SampleTable

KIND = "mint_protocol"
SUMMARY = "protocol.json"
SAME_DATABASE, MEMBER_DATABASE, CROSS_MODEL = "same-database", "member-database", "cross-model"


@dataclasses.dataclass(frozen=True)
class MakeProtocol:
    """Options of make_protocol.py.

    Attributes:
        case: baseline, a, b: the paper's (Sec. IV-B): heads train on three external databases, always IJB-C among them,
            and are evaluated on the fourth: Adience, GANDiffFace or FDDB. same-database: members and externals are
            people of one database, of which the audited model saw the members only. member-database: heads are
            evaluated on a database of members that they never trained on. cross-model: externals are members of another
            model's training set (Glint360K without MS1MV3's people), so that the same heads on that other model show
            what is not membership.
        members: samples the audited model was trained on.
        externals: samples it was not trained on; of the paper's cases all four databases, called ijbc, fddb,
            gandiffface and adience (name them by NAME=PATH).
        out: folder for a sample table per part, protocol.json and the manifest.
        stand_in: which of your databases stands for which of the paper's, for example utkface=ijbc.
        test_members: of member-database: the members to evaluate on.
        test_externals: of member-database: the externals to evaluate on; else people of the externals.
        held_out: people of the members' database whom the model never saw: the control of every table.
        scan: folder of find_overlap.py over all of these databases; what it says to leave out is left out.
        unscanned: go on without: every table will say that externals may be members.
        size: of the training set, both classes together, as in the paper. With fewer samples all sizes shrink alike.
        num_train: training samples of each class, instead of a size.
        num_test: evaluation samples of each class at most; by default all that the externals have.
        seed: seed of every choice.
        overwrite: replace what --out holds.
        quiet: no effect: nothing here takes long.
    """

    case: Literal["baseline", "a", "b", "same-database", "member-database", "cross-model"]
    members: tuple[str, ...]
    externals: tuple[str, ...]
    out: Path
    stand_in: tuple[str, ...] = ()
    test_members: tuple[str, ...] = ()
    test_externals: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    scan: Path | None = None
    unscanned: bool = False
    size: Literal["100k", "50k", "1k"] = "100k"
    num_train: int = 0
    num_test: int = 0
    seed: int = 1
    overwrite: bool = False
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What find_overlap.py said: what to leave out, and what it may have missed (None: not scanned)."""

    samples: set[str]
    people: set[str]
    report: dict[str, Any] | None


def make_protocol(config: MakeProtocol) -> str:
    """Chooses the samples of every part, checks that no person is in two, and writes them.

    Raises:
        InputError: if the databases do not fit the case, or a person is on two sides.
        RefusedError: if the externals were not searched for members, without --unscanned.
    """
    _check_options(config)
    listed = {
        name: [samples.list_samples(source) for source in getattr(config, name)]
        for name in ("members", "externals", "test_members", "test_externals", "held_out")
    }
    everything = samples.join([table for parts in listed.values() for table in parts])
    scan = _read_scan(config, [table for parts in listed.values() for table in parts])
    joined = {name: _leave_out(samples.join(parts), scan) if parts else None for name, parts in listed.items()}
    sides = _sides(config, joined)
    numbers = cases.plan(sides, config.size, config.num_train, config.num_test)
    protocol = cases.compose(sides, numbers, config.seed)
    inputs = {"samples": samples.fingerprint(everything)}
    if config.scan is not None:
        inputs["scan"] = formats.sha256_file(config.scan / formats.OVERLAP_REPORT)
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in ("out", "scan", "overwrite", "quiet")
    }
    summary = _summarise(config, protocol, numbers, scan, len(everything))
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        for part, name in enumerate(protocols.PARTS):
            if (protocol.part == part).any():
                tables.write_samples(config.out / f"{name}.parquet", protocol.table.take(protocol.part == part))
        formats.write_json(config.out / SUMMARY, summary)
    return describe(summary) + f"\nWritten: {config.out}"


def read_protocol(folder: Path) -> tuple[protocols.Protocol, dict[str, Any]]:
    """Reads a protocol back, with its summary, and checks again that no person is in two parts.

    Raises:
        InputError: if the folder holds none.
    """
    formats.read_manifest(folder, KIND)
    summary = formats.read_json(folder / SUMMARY)
    names = [name for name in protocols.PARTS if (folder / f"{name}.parquet").is_file()]
    if missing := sorted(set(protocols.PARTS[:4]) - set(names)):
        raise InputError(f"Expected {missing} in {folder}, received none: make_protocol.py has not finished there.")
    parts = {name: tables.read_samples(folder / f"{name}.parquet") for name in names}
    part = np.concatenate([np.full(len(parts[name]), protocols.PARTS.index(name)) for name in names])
    protocol = protocols.Protocol(
        samples.join(list(parts.values())), part, str(summary["evaluation"]), int(summary["seed"])
    )
    protocols.check_people(protocol)
    return protocol, summary


def describe(summary: dict[str, Any]) -> str:
    """Says in a few lines who trains and who evaluates, how that differs from the paper, and what was searched."""
    lines = [f"Case {summary['case']}, evaluation: {summary['evaluation'].replace('_', ' ')}"]
    for name, counts in summary["parts"].items():
        databases = ", ".join(f"{database} {count:,}" for database, count in counts["databases"].items())
        title = f"{name.replace('_', ' ')}:"
        lines.append(f"  {title:16} {counts['images']:7,} images, {counts['identities']:6,} identities ({databases})")
    lines += [f"  {mine} stands for the paper's {theirs}" for mine, theirs in summary["stand_ins"].items()]
    if summary["scale"] < 1:
        lines.append(
            f"Fewer samples than the paper's: every training size is {summary['scale']:.4f} of it "
            f"({summary['num_train_full']:,} of each class stand for its 50,000)."
        )
    if (num_train := summary["parts"]["train_members"]["images"]) < cases.MIN_TRAIN:
        lines.append(f"Too few to train a head: batches take {cases.MIN_TRAIN} of each class, received {num_train}.")
    return "\n".join([*lines, scan_text(summary["scan"])])


def scan_text(scan: dict[str, Any] | None) -> str:
    """Says what is known of members among the externals."""
    if scan is None:
        return "NOT SCANNED: externals were not searched for members; some may be members."
    missed = scan["missed_at_most"]
    bound = "no copies were planted" if missed is None else f"of planted copies at most {missed:.1%} were missed (95%)"
    return (
        f"Searched for members among the externals: {scan['left_out']:,} of {scan['num_samples']:,} samples left out; "
        f"{bound}; {'with' if scan['by_embedding'] else 'without'} a face-recognition model."
    )


def _check_options(config: MakeProtocol) -> None:
    is_paper = config.case in cases.PAPER_CASES
    for name, wanted in (
        ("stand_in", is_paper),
        ("test_members", config.case == MEMBER_DATABASE),
        ("test_externals", config.case == MEMBER_DATABASE),
    ):
        if getattr(config, name) and not wanted:
            raise InputError(f"Expected --{name.replace('_', '-')} for other cases, received it with {config.case}.")
    if config.case == MEMBER_DATABASE and not config.test_members:
        raise InputError("Expected --test-members: a database of members that the heads do not train on.")
    if (config.scan is None) != config.unscanned:
        raise RefusedError(
            "no --scan: externals that are members make every result wrong. Give the folder of find_overlap.py over "
            "all of these databases, or say --unscanned, and every table will say so too. Not both."
        )


def _read_scan(config: MakeProtocol, parts: Sequence[SampleTable]) -> _Scan:
    """Reads what a search says to leave out, and insists that it has seen every one of the tables."""
    if config.scan is None:
        return _Scan(set(), set(), None)
    formats.read_manifest(config.scan, formats.OVERLAP)
    report = formats.read_json(config.scan / formats.OVERLAP_REPORT)
    unseen = [str(part.database[0]) for part in parts if formats.sha256_table(part) not in report["databases"]]
    if unseen:
        raise RefusedError(
            f"{config.scan} has not searched {unseen} as they are now, but {list(report['databases'].values())}. Run "
            "find_overlap.py over all databases of this protocol, under the same names."
        )
    left_out = formats.read_csv(config.scan / formats.EXCLUDED_SAMPLES)["sample_id"]
    people = formats.read_csv(config.scan / formats.EXCLUDED_PEOPLE)["identity"]
    return _Scan(set(left_out), set(people), report)


def _leave_out(table: SampleTable, scan: _Scan) -> SampleTable:
    out = np.isin(table.sample_id, list(scan.samples)) | np.isin(table.people(), list(scan.people))
    return table.take(~out)


def _sides(config: MakeProtocol, joined: dict[str, SampleTable | None]) -> cases.Sides:
    members, externals = joined["members"], joined["externals"]
    if members is None or externals is None or not len(members) or not len(externals):
        raise InputError("Expected members and externals, received none of one that may be used.")
    test_members, test_externals = joined["test_members"], joined["test_externals"]
    evaluation = protocols.UNSEEN_DATABASE
    if config.case in cases.PAPER_CASES:
        case = cases.PAPER_CASES[config.case]
        externals, test_externals = cases.divide_externals(externals, case, _stand_ins(config))
    elif config.case == SAME_DATABASE:
        evaluation = protocols.SAME_DATABASE
        if strangers := sorted(set(externals.database.tolist()) - set(members.database.tolist())):
            raise InputError(f"Expected externals of the members' own database, received {strangers}.")
    elif config.case == CROSS_MODEL:
        evaluation = protocols.CROSS_MODEL
    else:
        evaluation = protocols.UNSEEN_MEMBERS
        if test_members is not None and (
            both := sorted(set(members.database.tolist()) & set(test_members.database.tolist()))
        ):
            raise InputError(f"Expected members to evaluate on from another database, received {both} in both.")
    return cases.Sides(
        cases.Pool(members, test_members), cases.Pool(externals, test_externals), joined["held_out"], evaluation
    )


def _stand_ins(config: MakeProtocol) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in config.stand_in]
    if not all(mine and theirs for mine, _, theirs in pairs):
        raise InputError(f"Expected --stand-in YOURS=PAPERS, received {list(config.stand_in)}.")
    return {mine: theirs for mine, _, theirs in pairs}


def _summarise(
    config: MakeProtocol, protocol: protocols.Protocol, numbers: cases.Plan, scan: _Scan, num_listed: int
) -> dict[str, Any]:
    parts = {}
    for part, name in enumerate(protocols.PARTS):
        chosen = protocol.table.take(protocol.part == part)
        if len(chosen):
            databases, counts = np.unique(chosen.database, return_counts=True)
            parts[name] = {
                "images": len(chosen),
                "identities": len(np.unique(chosen.people())),
                "databases": dict(zip(databases.tolist(), counts.tolist(), strict=True)),
            }
    searched = None
    if scan.report is not None:
        planted = scan.report["planted"].get("all")
        searched = {
            "left_out": len(scan.samples),
            "left_out_people": len(scan.people),
            "num_samples": num_listed,
            "missed_at_most": planted["missed_at_most"] if planted else None,
            "by_embedding": scan.report["audited"] is not None,
        }
    return {
        "case": config.case,
        "evaluation": protocol.main_evaluation,
        "seed": config.seed,
        "size": config.size,
        "scale": numbers.scale,
        "num_train_full": numbers.num_train_full,
        "stand_ins": _stand_ins(config),
        "parts": parts,
        "scan": searched,
    }
