r"""Choose who trains the heads and who evaluates them, as in the paper or stricter; no person on two sides.

Externals must have been searched for members (find_overlap.py) unless you insist. train_mint.py --protocol uses it.

Example:
    python scripts/make_protocol.py --case baseline --members faces/ms1mv3 --externals faces/ijbc faces/fddb \
        faces/gandiffface faces/adience --scan runs/overlap --out runs/protocol
    python scripts/make_protocol.py --case same-database --members models/lab/members.parquet \
        --externals models/lab/held_out.parquet --unscanned --out runs/protocol-lab
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal

from mint_keras import formats
from mint_keras.commands import Result
from mint_keras.data import cases, identity_list, overlap_files, protocol_files, samples
from mint_keras.data.protocol import Protocol
from mint_keras.data.protocol_files import SUMMARY as SUMMARY
from mint_keras.options import Writing
from mint_keras.records import InputError, RefusedError, concatenate_tables


@dataclasses.dataclass(frozen=True)
class MakeProtocol(Writing):
    """Options of make_protocol.py.

    Attributes:
        case: baseline, a and b are the paper's (Sec. IV-B): heads train on three external databases, always IJB-C among
            them, and are evaluated on the fourth: Adience, GANDiffFace or FDDB. In same-database, members and externals
            are people of one database, of which the audited model saw the members only. In member-database, heads are
            evaluated on a database of members that they never trained on. In cross-model, externals are members of
            another model's training set (Glint360K without MS1MV3's people), so that the same heads on that other model
            show what is not membership.
        members: Samples that the audited model was trained on.
        externals: Samples that it was not trained on. For the paper's cases give all four databases, called ijbc, fddb,
            gandiffface and adience (name them by NAME=PATH).
        out: Folder for a sample table per part, protocol.json and the manifest.
        stand_in: Which of your databases stands for which of the paper's, for example utkface=ijbc.
        test_members: Members to evaluate on, for member-database only.
        test_externals: Externals to evaluate on, for member-database only; without, people of the externals are held
            out.
        held_out: People of the members' database whom the model never saw: the control of every table.
        scan: Folder of find_overlap.py over all of these databases. What it says to leave out is left out.
        identities: List of inspect_database.py --audited, as you left it: whom to merge, split and drop.
        unscanned: Go on without. Every table will say that externals may be members.
        size: Size of the training set, both classes together, as in the paper. With fewer samples all sizes shrink
            alike.
        num_train: Training samples of each class, instead of a size.
        num_test: Evaluation samples of each class at most; 0 takes all that the externals have.
        seed: Seed of every choice.
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
    identities: Path | None = None
    # A switch of its own, because externals that are members make every result wrong.
    unscanned: bool = False
    size: Literal["100k", "50k", "1k"] = "100k"
    num_train: int = 0
    num_test: int = 0
    seed: int = 1

    def check(self) -> dict[str, str]:
        """Refuses options that do not go together; returns which database stands for which of the paper's."""
        is_paper, is_member_database = self.case in cases.PAPER_CASES, self.case == cases.MEMBER_DATABASE
        needed = {"stand_in": is_paper, "test_members": is_member_database, "test_externals": is_member_database}
        for name, is_needed in needed.items():
            if getattr(self, name) and not is_needed:
                raise InputError(f"Expected --{name.replace('_', '-')} for other cases, received it with {self.case}.")
        if is_member_database and not self.test_members:
            raise InputError("Expected --test-members: a database of members that the heads do not train on.")
        if (self.scan is None) != self.unscanned:
            raise RefusedError(
                "no --scan: externals that are members make every result wrong. Give the folder of find_overlap.py "
                "over all of these databases, or say --unscanned, and every table will say so too. Not both."
            )
        pairs = [entry.partition("=") for entry in self.stand_in]
        if not all(mine and theirs for mine, _, theirs in pairs):
            raise InputError(f"Expected --stand-in YOURS=PAPERS, received {list(self.stand_in)}.")
        return {mine: theirs for mine, _, theirs in pairs}


@dataclasses.dataclass(frozen=True)
class Chosen(Result):
    """Who was chosen: the samples, each with the part that it plays, and the content of protocol.json."""

    protocol: Protocol
    summary: dict[str, Any]
    out: Path


def make_protocol(config: MakeProtocol) -> Chosen:
    """Chooses the samples of every part, checks that no person is in two, and writes them."""
    stand_ins = config.check()
    listed = {
        name: [samples.list_samples(source) for source in getattr(config, name)]
        for name in ("members", "externals", "test_members", "test_externals", "held_out")
    }
    sources = [table for parts in listed.values() for table in parts]
    of_one = ("members", "test_members", "held_out", *(["externals"] if config.case == cases.SAME_DATABASE else []))
    pairs = (zip(getattr(config, part), listed[part], strict=True) for part in of_one)
    samples.check_databases(itertools.chain.from_iterable(pairs))
    # Everything that was named is an input, also what is left out later.
    everything = samples.join(sources)
    inputs, num_samples = {"samples": samples.fingerprint(everything)}, len(everything)
    del everything  # as large as all that follows
    scan = overlap_files.read_scan(config.scan, sources) if config.scan is not None else None
    joined = {name: concatenate_tables(parts) if parts else None for name, parts in listed.items()}
    lines = identity_list.read(config.identities) if config.identities is not None else []
    obeyed: set[int] = set()
    for name, table in joined.items():
        if table is not None:
            renamed, kept, known = identity_list.obey(table, lines)
            obeyed |= known
            kept &= ~scan.names(table, renamed) if scan is not None else True
            joined[name] = renamed.take(kept)
    sides = cases.make_sides(config.case, joined, stand_ins)
    numbers = cases.plan(sides, config.size, config.num_train, config.num_test)
    protocol = cases.compose(sides, numbers, config.seed)
    if config.scan is not None:
        inputs["scan"] = formats.sha256_file(config.scan / formats.OVERLAP_REPORT)
    if config.identities is not None:
        inputs["identities"] = formats.sha256_file(config.identities)
    # What may be moved is among the inputs, by its content.
    moved = ("out", "scan", "identities", "overwrite", "absolute_paths")
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in moved}
    summary = {
        "case": config.case,
        "evaluation": protocol.main_evaluation,
        "seed": config.seed,
        "size": config.size,
        "scale": numbers.scale,
        "num_train_full": numbers.num_train_full,
        "stand_ins": stand_ins,
        "parts": protocol_files.count_parts(protocol),
        "scan": scan.summary(num_samples) if scan is not None else None,
        "identities": {"lines": len(lines), "obeyed": len(obeyed)} if config.identities is not None else None,
    }
    manifest = formats.make_manifest(protocol_files.KIND, inputs, settings)
    with formats.output_folder(config.out, manifest, config.overwrite):
        protocol_files.write_protocol(config.out, protocol, summary)
    text = f"{protocol_files.describe(summary)}\nWritten: {config.out}"
    return Chosen(text, protocol, summary, config.out)
