r"""Measure which altered copies of photos are found, and how many other photos are taken for copies.

From where on photos are copies is settled on one half of the people; what is quoted is of the other half, and of other
databases. An interrupted command continues.

Example:
    python scripts/measure_copies.py --faces lfw --network mobilefacenet --others utkface orl --out runs/copies
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, shelf
from mint_keras.commands import Result
from mint_keras.data import images, overlap, registration, samples
from mint_keras.options import Common
from mint_keras.records import InputError, SampleTable

KIND = "copies"
RESULTS, TEXT = "copies.json", "copies.md"
DEFAULT, AUDITED = "default", "--audited"
_RARE = 0.001  # of copies may lie below what is settled, and of other photos above
_NEAREST = 4  # others that each photo is laid on, as find_overlap.py does

Embed = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class MeasureCopies(Common):
    """Options of measure_copies.py.

    Attributes:
        out: Folder for copies.json and copies.md.
        faces: Aligned faces of known people, half of whom say from where on photos are copies.
        others: Further databases of aligned faces, of which other photos may be taken for copies.
        network: A face-recognition model that says which photos may be one, as in find_overlap.py.
        min_cosine: As of find_overlap.py.
        plant: So many copies of each kind are planted among the other half.
        rounds: In so many searches, because copies of one photo would hide each other.
        seed: Seed of the halves, and of what is copied and how.
    """

    out: Path
    faces: str = "synthetic:1/web/0-59/2"
    others: tuple[str, ...] = ()
    network: Path | None = None
    min_cosine: float = 0.8
    plant: int = 1000
    rounds: int = 5
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class FoundCopies(Result):
    """What was found.

    Attributes:
        content: The content of copies.json.
    """

    content: dict[str, Any]


def measure_copies(options: MeasureCopies) -> FoundCopies:
    """Measures what is missing, and returns it all.

    Raises:
        InputError: for options that measure nothing.
        RefusedError: if --out was made with others.
    """
    if min(options.plant, options.rounds) < 1:
        raise InputError(f"Expected --plant and --rounds above 0, received {options.plant} and {options.rounds}.")
    names = ("faces", "others", "min_cosine", "plant", "rounds", "seed")
    settings = {name: getattr(options, name) for name in names}
    inputs, embed = {}, None
    if options.network is not None:
        from mint_keras.audited import embedding

        inputs["network"] = formats.sha256_file(shelf.find(options.network) / formats.MODEL)
        embed = _remembering(embedding.open_unit(options.network))
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, settings), options.overwrite):
        chosen, quoted = split(samples.list_samples(options.faces), options.seed)
        share = -(-options.plant // options.rounds)
        seeds = [options.seed + number for number in range(1, options.rounds + 1)]
        searches = {f"round_{seed}": (quoted, share, seed) for seed in seeds}
        searches |= {f"other_{k}": (source, 0, 0) for k, source in enumerate(options.others, 1)}
        done = {"settled": _kept(options.out, "settled", settle, chosen, share, options.seed, embed)}
        for name, search_for in searches.items():
            done[name] = _kept(options.out, name, search, *search_for, embed, options.min_cosine)
        rounds = [done[f"round_{seed}"] for seed in seeds]
        content = {
            "settled": done["settled"],
            "planted": {name: add(rounds, name) for name in rounds[0]["found"]},
            # The photos themselves are the same in each round.
            "sources": {
                source if "synthetic:" in source else Path(source).name: of
                for source, of in zip(
                    (options.faces, *options.others),
                    (rounds[0], *(done[f"other_{k}"] for k in range(1, len(options.others) + 1))),
                    strict=True,
                )
            },
            "seconds": {key: sum(one["seconds"][key] for one in rounds) for key in rounds[0]["seconds"]},
            "num_searched": sum(one["num_rows"] for one in rounds),
        }
        said = render(content)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, f"{said}\n")
    return FoundCopies(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}", content)


def _kept(out: Path, name: str, measure: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    return formats.kept(out / f"{name}.json", lambda: measure(*given), formats.write_json, formats.read_json)


def split(table: SampleTable, seed: int) -> tuple[SampleTable, SampleTable]:
    """Returns the photos of one half of the people, and those of the other."""
    people = np.unique(table.people())
    half = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
    is_first = np.isin(table.people(), half)
    return table.take(is_first), table.take(~is_first)


def settle(table: SampleTable, plant: int, seed: int, embed: Embed | None) -> dict[str, Any]:
    """Says from where on photos are copies: half way between planted ones and the most alike of other photos.

    Pairs that have one hash are copies already, and none of the others. One in a thousand of either does not count.
    """
    searched = _fingerprint(table, plant, seed, embed)
    num, prints = len(searched.table), searched.prints
    faces = registration.grey(images.read_faces(searched.table)[1], registration.FINE)
    origin, copy = np.array([row for row, _ in searched.planted]), np.arange(num, len(prints.digest))
    plain, *views = registration.describe(np.asarray(prints.rough))
    ends = ((copy, origin), (origin, copy))
    rough = np.max([np.sum(view[one] * plain[two], axis=1) for view in views for one, two in ends], axis=0)
    alike = functools.reduce(np.maximum, (view[:num] @ plain[:num].T for view in views))
    np.fill_diagonal(alike, -1)
    pairs = np.stack([np.repeat(np.arange(num), _NEAREST), np.argsort(-alike, axis=1)[:, :_NEAREST].ravel()])
    pairs = np.unique(np.sort(pairs, axis=0), axis=1)
    bits = np.unpackbits(prints.pdq, axis=1)
    pairs = pairs[:, np.count_nonzero(bits[pairs[0]] != bits[pairs[1]], axis=1) > overlap.MAX_BITS]
    copies = np.array(
        [registration.agreement(faces[row], one) for row, one in zip(origin, searched.copies, strict=True)]
    )
    others = np.array([registration.agreement(faces[one], faces[two]) for one, two in pairs.T.tolist()])
    found: dict[str, Any] = {"num_photos": num, "num_copies": len(copies), "num_others": len(others)}
    for column, name in enumerate(("whole", "detail")):
        low, high = np.quantile(copies[:, column], _RARE), np.quantile(others[:, column], 1 - _RARE)
        found[name] = {"copies": float(low), "others": float(high), "half_way": float(low + high) / 2}
    found["rough"] = {"copies": float(np.quantile(rough, _RARE))}
    if prints.embedding is not None:
        cosines = np.sum(prints.embedding[copy] * prints.embedding[origin], axis=1)
        found["cosine"] = {"copies": float(np.quantile(cosines, _RARE))}
    return found


def search(source: str | SampleTable, plant: int, seed: int, embed: Embed | None, min_cosine: float) -> dict[str, Any]:
    """Plants copies and searches as find_overlap.py does, without the network and with it.

    Returns:
        How many of each kind were planted and found, by search; pairs of the photos themselves that were taken for one,
        of one person, of two and of people whom nobody knows; how many pairs there are; and seconds of processor time.
    """
    table = samples.list_samples(source) if isinstance(source, str) else source
    start = time.process_time()
    searched = _fingerprint(table, plant, seed, embed)
    seconds = {"prints": time.process_time() - start}
    is_copy, prints = functools.cache(searched.is_copy()), searched.prints
    people, found = searched.table.people(), dict[str, Any]()
    for name, used in {DEFAULT: dataclasses.replace(prints, embedding=None), AUDITED: prints}.items():
        if name == AUDITED and embed is None:
            continue
        start = time.process_time()
        pairs = overlap.find_overlap(used, min_cosine, (), is_copy)
        seconds[name] = time.process_time() - start
        real = pairs.take(pairs.second < len(people))
        is_same = people[real.first] == people[real.second]
        found[name] = {
            "planted": {kind: [len(hits), sum(hits)] for kind, hits in searched.hits(pairs).items()},
            "one_person": int(is_same.sum()),
            "others": int((~is_same).sum()),
            "by_reason": dict(collections.Counter(real.reason.tolist())),
        }
    counts = np.unique(people, return_counts=True)[1]
    num_same, num = int((counts * (counts - 1) // 2).sum()), len(people)
    return {"num_photos": num, "num_rows": len(prints.digest), "pairs_of_one_person": num_same,
            "other_pairs": num * (num - 1) // 2 - num_same, "seconds": seconds, "found": found}  # fmt: skip


def _fingerprint(table: SampleTable, plant: int, seed: int, embed: Embed | None) -> overlap.Searched:
    if (searched := overlap.fingerprint(table, plant, seed, embed)) is None:
        raise InputError("Expected aligned faces, received none that is usable.")
    return searched


def _remembering(embed: Embed) -> Embed:
    """Embeds every face once: in each search the photos are the same, and the copies others."""
    known: dict[bytes, np.ndarray] = {}

    def look(faces: np.ndarray) -> np.ndarray:
        digests = [hashlib.sha256(face.tobytes()).digest() for face in faces]
        new = [row for row, digest in enumerate(digests) if digest not in known]
        if new:
            known.update(zip([digests[row] for row in new], embed(faces[new]), strict=True))
        return np.stack([known[digest] for digest in digests])

    return look


def add(rounds: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Returns of each kind how many copies were found in all rounds, with an interval, and what is missed at most."""
    from mint_keras.statistics import bounds

    found = {}
    for kind in rounds[0]["found"][name]["planted"]:
        num, hits = map(sum, zip(*(one["found"][name]["planted"][kind] for one in rounds), strict=True))
        share = dataclasses.asdict(bounds.exact_interval(hits, num))
        found[kind] = {"planted": num, "found": hits, **share, "missed_at_most": bounds.upper_limit(num - hits, num)}
    return found


def render(content: dict[str, Any]) -> str:
    """Returns the content of copies.json as Markdown tables, the worst kind first."""
    from mint_keras.report import tables
    from mint_keras.statistics import bounds
    from mint_keras.statistics.intervals import Estimate

    planted = content["planted"]
    rows = [
        ["planted", *(f"{name}, {what}" for name in planted for what in ("found", "share", "missed at most (95%)"))]
    ]
    worst = next(iter(planted.values()))
    for kind in sorted(worst, key=lambda kind: (worst[kind]["found"] / worst[kind]["planted"], kind)):
        rows.append([kind])
        for one in (of[kind] for of in planted.values()):
            share = Estimate(one["value"], one["low"], one["high"], 1)
            rows[-1] += [f"{one['found']:,} of {one['planted']:,}", str(share), f"{one['missed_at_most']:.1%}"]
    pairs = [
        ["photos", "search", "pairs of one person", "taken for one photo", "other pairs", "taken", "at most (95%)"]
    ]
    for source, of in content["sources"].items():
        for name, found in of["found"].items():
            limit = bounds.upper_limit(found["others"], of["other_pairs"])
            row = [
                f"{source} ({of['num_photos']:,})",
                name,
                f"{of['pairs_of_one_person']:,}",
                f"{found['one_person']:,}",
            ]
            pairs.append([*row, f"{of['other_pairs']:,}", f"{found['others']:,}", f"{limit:.1e}"])
    return f"{tables.format_table(rows)}\n\n{tables.format_table(pairs)}"
