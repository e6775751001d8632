r"""Rank attacks on networks that are any good: a public network whose end was trained on some people of real photos.

Each network is attacked alone, beside the network before its training, and beside shadows, which are other networks of
the bench: who was trained on, and which photos of a person were. Figures are means over networks; an interval is that
of one network, on other people like these. To rank an attack of one's own, score the samples of scores.csv, and give
the file to `mint attacks --scores` on one network.

Examples:
    python scripts/bench_membership.py --first models/mobilefacenet --trainable conv_046 --data lfw/train.rec \
        --out runs/bench
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mint_keras import formats, progress, score_files, shelf
from mint_keras.commands import Result
from mint_keras.options import Common

if TYPE_CHECKING:
    from mint_keras.auditing.attacks import Ranked
    from mint_keras.records import Observations, SampleTable, Scores
    from studies.worlds.usable import Photos, UsableLab

KIND = "bench_membership"
RESULTS, TEXT = "bench.json", "bench.md"
BEFORE, SHADOWS, NOBODY = "before", "shadows", "nobody"
IMAGES = "images_"  # how names begin where members' photos are told from other photos of the same people
Asked = Literal["before", "shadows", "nobody", "images_before", "images_shadows"]
ASKED: dict[Asked, str] = {
    "before": "beside the network before",
    "shadows": "beside shadows",
    "nobody": "nobody a member",
    "images_before": "images, beside the network before",
    "images_shadows": "images, beside shadows",
}
_NUM_SHADOWS = 7
_LEAST_PEOPLE = 30  # with as many photos that were used as others


@dataclasses.dataclass(frozen=True)
class BenchMembership(Common):
    """Options of bench_membership.py.

    Attributes:
        first: The network before: a folder of convert_fr.py or train_audited.py.
        trainable: Where what is trained of it begins, see train_audited.py.
        data: Photos of people, as train_audited.py takes them.
        out: Folder for bench.md and bench.json, and for the networks with their scores. Networks that are there, in
            epochs_N, are not trained again, whatever is asked of them.
        epochs: Passes of the trainings that are compared.
        num_targets: Networks that are attacked, of each number of epochs.
        num_networks: Networks that are trained; the others are shadows of each.
        asked: What is asked of each.
        without_heads: Leave out the paper's heads, which take most of the time.
        people: People, at most.
        seed: Seed of everything.
    """

    first: Path
    trainable: str
    data: str
    out: Path
    epochs: tuple[int, ...] = (3, 10, 30)
    num_targets: int = 6
    num_networks: int = 12
    asked: tuple[Asked, ...] = tuple(ASKED)
    without_heads: bool = False
    people: int = 480
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class MembershipBench(Result):
    """The content of bench.json."""

    content: dict[str, Any]


def bench_membership(options: BenchMembership) -> MembershipBench:
    """Trains the networks that are missing, and ranks all attacks on them."""
    from studies.worlds import classifiers
    from studies.worlds.usable import UsableLab, UsableSpec

    # What is asked of the networks, and of how many, is not among it: they are kept, and can be asked again.
    settings = {name: getattr(options, name) for name in ("trainable", "data", "people", "num_networks", "seed")}
    inputs = {"first": formats.sha256_file(shelf.find(options.first) / formats.MODEL)}
    content: dict[str, Any] = {}
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, settings), options.overwrite):
        for epochs in options.epochs:
            spec = UsableSpec(
                first=options.first, trainable=options.trainable, data=options.data, least_photos=4,
                num_people=options.people, epochs=epochs, num_untrained=0, seed=options.seed,
            )  # fmt: skip
            lab = UsableLab(spec, options.out / f"epochs_{epochs}")
            for beside in options.asked:
                ranked = _rank(lab, beside, options)
                began = f" from {found}" if (found := classifiers.began(lab.out / "models")) else ""
                content[f"{epochs} epochs{began}, {ASKED[beside]}"] = [dataclasses.asdict(one) for one in ranked]
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, render(content))
    return MembershipBench(f"{render(content)}\nWritten: {options.out / TEXT}, {RESULTS}", content)


def render(content: Mapping[str, Any]) -> str:
    """Returns a table for each thing that was asked, under its name."""
    from mint_keras.auditing import attacks
    from mint_keras.report.tables import format_table

    tables = {name: format_table(attacks.table_of([*map(attacks.from_json, of)])) for name, of in content.items()}
    return "\n".join(f"{name}:\n\n{table}\n" for name, table in tables.items())


def _rank(lab: UsableLab, beside: str, options: BenchMembership) -> list[Ranked]:
    """Returns what every attack finds over all targets; scores of a target that are there are read."""
    from mint_keras.auditing import attacks
    from mint_keras.scorers import mint_plus

    parts: dict[str, list[Scores]] = {}
    seconds: dict[str, float] = {}
    kept = f"{beside}{'' if options.without_heads else '_with_heads'}_{mint_plus.RECIPE}"
    for target in progress.bar(range(1, options.num_targets + 1), desc=beside, unit="network"):
        folder = lab.out / "bench" / kept / str(target)
        if not (folder / formats.SCORES).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shown = observed(lab, target, beside, options.num_networks)
            found, scores = attacks.rank(*shown, seed=options.seed, with_heads=not options.without_heads)
            formats.write_json(folder / "seconds.json", {one.name: one.seconds for one in found})
            score_files.write_scores(folder / formats.SCORES, scores)
        for part in score_files.read_scores(folder / formats.SCORES):
            parts.setdefault(part.scorer, []).append(part)
        for name, value in formats.read_json(folder / "seconds.json").items():
            seconds[name] = seconds.get(name, 0.0) + value / options.num_targets
    return attacks.best_first(
        attacks.summarise(name, of, seconds[name], options.seed) for name, of in parts.items() if len(of) > 0
    )


def observed(lab: UsableLab, target: int, beside: str, num_networks: int) -> tuple[Observations, np.ndarray]:
    """Returns what attacks are shown of a target's members and as many others, and who is a member, (n,).

    Args:
        lab: The networks.
        target: The number of the one that is attacked; its people are also those of `NOBODY`, through the one before.
        beside: What is asked, a key of `ASKED`.
        num_networks: Networks from which shadows are taken.
    """
    from mint_keras import streams
    from mint_keras.data import samples
    from mint_keras.records import Labelled, Observations
    from mint_keras.statistics import division

    seed, by_image = lab.spec.seed, beside.startswith(IMAGES)
    pictures = [lab.people, _unused(lab)] if by_image else [lab.people]
    parts = [_shown(lab, one, target, beside.removeprefix(IMAGES), num_networks) for one in pictures]
    table = samples.join([part.table for part in parts])
    seen = Observations(table, {name: np.concatenate([part[name] for part in parts]) for name in parts[0].arrays})
    people, is_member = table.people(), _is_used(lab, table, target)
    if by_image:
        known = np.flatnonzero(np.isin(people, people[is_member]))
        _, kept = division.equal_photos(
            Labelled(known, is_member[known]), _LEAST_PEOPLE, people, table.sample_id, seed
        )  # fmt: skip
        return seen.take(kept.rows), kept.is_member
    others = streams.stream(seed, streams.DIVISION, target).permutation(np.unique(people[~is_member]))
    rows = np.flatnonzero(is_member | np.isin(people, others[: lab.spec.claimed]))
    return seen.take(rows), is_member[rows]


def _is_used(lab: UsableLab, table: SampleTable, number: int) -> np.ndarray:
    """Says which samples a network was trained on, (n,)."""
    from mint_keras.data import sample_tables

    lab.train(number)
    return np.isin(table.sample_id, sample_tables.read_samples(lab.folder(number) / formats.MEMBERS).sample_id)


def _unused(lab: UsableLab) -> Photos:
    """Returns further photos of the lab's people, which no network was trained on: at most as many of each person."""
    from mint_keras import streams
    from mint_keras.data import samples, splits

    known, listed = lab.people.table, samples.list_samples(lab.spec.data)
    others = listed.take(np.isin(listed.people(), known.people()) & ~np.isin(listed.sample_id, known.sample_id))
    rng = streams.stream(lab.spec.seed, streams.DIVISION, 0)
    rows = [rng.permutation(one)[: lab.spec.photos] for one in splits.rows_by_person(others.people())]
    return lab.photos(others.take(np.sort(np.concatenate(rows))), "unused")


def _shown(lab: UsableLab, photos: Photos, target: int, beside: str, num_networks: int) -> Observations:
    """Returns what the network that is attacked, and those beside it, give of photos."""
    from mint_keras.auditing import look as looks
    from mint_keras.records import AUDITED, REFERENCE, Observations
    from mint_keras.scorers.attacks import IS_IN
    from mint_keras.scorers.baselines import FIRST_MAXIMA
    from studies.worlds import usable

    seen = lab.observe(photos, target)
    audited = seen[usable.BEFORE if beside == NOBODY else AUDITED]
    found = dict(audited.arrays) | {FIRST_MAXIMA: audited["conv1_max"]}
    if beside == BEFORE:
        return Observations(audited.table, found | looks.as_reference(f"{REFERENCE}_001", seen[usable.BEFORE].arrays))
    for number in [one for one in range(1, num_networks + 1) if one != target][:_NUM_SHADOWS]:
        name = f"{REFERENCE}_{number:03d}"
        found[name] = lab.observe(photos, number)[AUDITED]["outcome"]
        found[f"{IS_IN}{name}"] = _is_used(lab, audited.table, number)
    return Observations(audited.table, found)
