r"""Measure which altered copies of photos are found, and how many other photos are taken for copies.

From where on photos are copies was settled on one half of the people; what is quoted is of the other half, and of other
databases. Each is searched as `find_overlap.py` does, without a network, and what that misses once more with one. An
interrupted command continues.

Example:
    python scripts/measure_copies.py --faces lfw --network mobilefacenet --others utkface orl --out runs/copies
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mint_keras import environment, formats, shelf
from mint_keras.commands import Result
from mint_keras.data import images, overlap, registration, samples
from mint_keras.data.alterations import ALTERATIONS
from mint_keras.options import Common
from mint_keras.records import InputError
from studies import arrays

KIND = "copies"
RESULTS, TEXT = "copies.json", "copies.md"
DEFAULT, AUDITED = "default", "--audited"
_RARE = 0.001  # of copies may lie below what is settled, and of other photos above
_SETTLED = 100  # copies of each kind that settle it
_NEAREST = 4  # others that each photo is laid on, as find_overlap.py does

# From faces to embeddings of length 1.
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
    rounds: int = 8
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class FoundCopies(Result):
    """What was found.

    Attributes:
        content: The content of copies.json.
    """

    content: dict[str, Any]


class Photos(NamedTuple):
    """Photos in memory: faces, uint8, (n, 112, 112, 3), who is on them, (n,), and their embeddings, (n, d), or None."""

    faces: np.ndarray
    people: np.ndarray
    embedding: np.ndarray | None


def measure_copies(options: MeasureCopies) -> FoundCopies:
    """Measures what is missing, and returns it all.

    Raises:
        InputError: for options that measure nothing.
        RefusedError: if --out was made with others.
    """
    if min(options.plant, options.rounds) < 1:
        raise InputError(f"Expected --plant and --rounds above 0, received {options.plant} and {options.rounds}.")
    settings = {name: getattr(options, name) for name in ("faces", "others", "min_cosine", "plant", "rounds", "seed")}
    inputs, embed = {}, None
    if options.network is not None:
        inputs["network"] = formats.sha256_file(shelf.find(options.network) / formats.MODEL)
        embed = _opened_late(options.network)
    with formats.output_folder(options.out, formats.make_manifest(KIND, inputs, settings), options.overwrite):

        def kept(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
            return formats.kept(options.out / f"{name}.json", measure, formats.write_json, formats.read_json)

        everybody = read(options.faces)
        is_chosen = is_in_half(everybody.people, options.seed)
        chosen, quoted = (
            Photos(everybody.faces[rows], everybody.people[rows], None) for rows in (is_chosen, ~is_chosen)
        )
        settled = kept("settled", lambda: settle(chosen, min(_SETTLED, options.plant), options.seed))
        search = Searches(quoted, options.min_cosine)
        share = -(-options.plant // options.rounds)
        rounds = []
        for number in range(options.rounds):
            plant = functools.partial(
                search.plant, share, options.seed + 1 + number, options.out / f"missed_{number}.npz"
            )
            rounds.append(kept(f"round_{number}", plant))
        files = [arrays.read(options.out / f"missed_{number}.npz") for number in range(options.rounds)]
        missed = {name: np.concatenate([file[name] for file in files]) for name in ("faces", "row", "kind")}
        keeping = [
            embed and arrays.keeping(embed, options.out / f"embeddings_{number}")
            for number in range(len(options.others) + 1)
        ]
        sources = {options.faces: lambda: again(quoted, missed, options.min_cosine, keeping[0])}
        for source, kept_in in zip(options.others, keeping[1:], strict=True):
            sources[source] = functools.partial(look, source, options.min_cosine, kept_in)
        looked = {_short(name): kept(f"source_{k}", one) for k, (name, one) in enumerate(sources.items())}
        found = looked[_short(options.faces)]
        content = {
            "settled": settled,
            "planted": {DEFAULT: add(rounds, {})} | ({AUDITED: add(rounds, found["planted"])} if embed else {}),
            "sources": looked,
            "seconds": sum(one["seconds"] for one in rounds),
            "num_searched": sum(one["num_searched"] for one in rounds),
        }
        said = render(content)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, f"{said}\n")
    return FoundCopies(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}", content)


def _opened_late(network: Path) -> Embed:
    """Returns a network that is opened when it is first asked, because most of an interrupted command needs none."""

    @functools.cache
    def opened() -> Embed:
        environment.import_tensorflow()
        from mint_keras.audited import embedding

        return embedding.open_unit(network)

    return lambda faces: opened()(faces)


def _short(source: str) -> str:
    return source if "synthetic:" in source else Path(source).name


def read(source: str) -> Photos:
    """Reads the photos of a source that are usable."""
    table = samples.list_samples(source)
    rows, faces = images.read_faces(table)
    return Photos(faces, table.people()[rows], None)


def is_in_half(people: np.ndarray, seed: int) -> np.ndarray:
    """Returns which photos are of one half of the people, shape (n,), bool."""
    names = np.unique(people)
    return np.isin(people, np.random.default_rng(seed).permutation(names)[: len(names) // 2])


def alter(faces: np.ndarray, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns so many copies of each kind, the rows of what they copy, and their kinds."""
    rng = np.random.default_rng([seed, len(faces)])
    row = np.concatenate([rng.choice(len(faces), min(num, len(faces)), replace=False) for _ in ALTERATIONS])
    kind = np.repeat(list(ALTERATIONS), len(row) // len(ALTERATIONS))
    copies = [ALTERATIONS[str(what)](faces[k], rng) for k, what in zip(row.tolist(), kind, strict=True)]
    return np.stack(copies), row, kind


def settle(photos: Photos, num: int, seed: int) -> dict[str, Any]:
    """Says how far planted copies agree with their originals, and the photos that are most alike with each other.

    What counts as one photo in `registration` lies between. Pairs that have one hash are copies already, and none of
    the others. One in a thousand of either does not count.
    """
    copies, row, _ = alter(photos.faces, num, seed)
    fine = [registration.grey(faces, registration.FINE) for faces in (photos.faces, copies)]
    rough = [registration.grey(faces, registration.ROUGH) for faces in (photos.faces, copies)]
    scale = registration.Scale.of(rough[0])
    views = scale.describe(rough[0], registration.VIEWS)
    plain, copied, mirrored = (scale.describe(seen)[:, 0] for seen in (*rough, rough[1][:, :, ::-1]))
    least = np.max([np.sum(views[row] * seen[:, None], axis=2).max(axis=1) for seen in (copied, mirrored)], axis=0)
    alike = functools.reduce(np.maximum, (view @ plain.T for view in views.swapaxes(0, 1)))
    np.fill_diagonal(alike, -1)
    nearest = np.argpartition(-alike, _NEAREST, axis=1)[:, :_NEAREST]
    pairs = np.stack([np.repeat(np.arange(len(plain)), _NEAREST), nearest.ravel()])
    pairs = np.unique(np.sort(pairs, axis=0), axis=1)
    hashes = overlap.Fingerprints.of(photos.faces).hashes[:, 0]
    bits = np.bitwise_count(hashes[pairs[0]] ^ hashes[pairs[1]]).sum(axis=1)
    pairs = pairs[:, bits > overlap.MAX_BITS]
    of_copies = [registration.agreement(fine[0][k], copy) for k, copy in zip(row.tolist(), fine[1], strict=True)]
    of_others = [registration.agreement(fine[0][one], fine[0][two]) for one, two in pairs.T.tolist()]
    found: dict[str, Any] = {"num_photos": len(plain), "num_copies": len(row), "num_others": pairs.shape[1]}
    for column, name in enumerate(("whole", "detail")):
        low = float(np.quantile([pair[column] for pair in of_copies], _RARE))
        high = float(np.quantile([pair[column] for pair in of_others], 1 - _RARE))
        found[name] = {"copies": low, "others": high}
    return found | {"rough": {"copies": float(np.quantile(least, _RARE))}}


class Searches:
    """Searches among the same photos, with other copies each time."""

    def __init__(self, photos: Photos, min_cosine: float) -> None:
        self.photos, self._num, self._copies = photos, len(photos.faces), photos.faces[:0]
        self._rows = np.arange(self._num)
        self._prints = overlap.Fingerprints.of(photos.faces)._replace(embedding=photos.embedding)
        self._scale = registration.Scale.of(self._prints.rough)
        self._index = overlap.Index(self._rows, self._prints, self._scale, min_cosine)

    def find(self, copies: np.ndarray, embedding: np.ndarray | None = None) -> overlap.Overlap:
        """Finds the photos of which these are copies, whose embeddings may be given; rows of copies are behind."""
        prints = overlap.Fingerprints.of(copies)._replace(embedding=embedding)
        return self._search(self._num + np.arange(len(copies)), prints, copies)

    def find_within(self) -> overlap.Overlap:
        """Finds pairs of the photos themselves."""
        return self._search(self._rows, self._prints, self.photos.faces[:0])

    def _search(self, rows: np.ndarray, prints: overlap.Fingerprints, copies: np.ndarray) -> overlap.Overlap:
        fine = [*registration.grey(self.photos.faces, registration.FINE)]
        fine += [*registration.grey(copies, registration.FINE)] if len(copies) else []
        compare = overlap.comparing(fine.__getitem__)
        return overlap.Overlap.of([*self._index.search(rows, prints, compare)])

    def hits(self, found: overlap.Overlap, row: np.ndarray) -> np.ndarray:
        """Returns which copies were found with what they copy, or with a photo of equal pixels."""
        first = overlap.first_equal(self._prints.digest)
        pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        return np.array([(int(first[k]), self._num + place) in pairs for place, k in enumerate(row.tolist())], bool)

    def plant(self, num: int, seed: int, missed: Path) -> dict[str, Any]:
        """Plants copies and searches; keeps those that are missed, and counts the others by kind."""
        start = time.process_time()
        copies, row, kind = alter(self.photos.faces, num, seed)
        is_found = self.hits(self.find(copies), row)
        seconds = time.process_time() - start
        arrays.write(missed, {"faces": copies[~is_found], "row": row[~is_found], "kind": kind[~is_found]})
        counts = {what: [int((kind == what).sum()), int(is_found[kind == what].sum())] for what in ALTERATIONS}
        return {"planted": counts, "seconds": seconds, "num_searched": len(row)}

    def count(self) -> dict[str, int]:
        """Counts the pairs of photos themselves that are taken for one, of one person and of others, by reason."""
        equal = overlap.equal_pairs(self._prints.digest)
        real = overlap.Overlap.of([*equal, *zip(*self.find_within(), strict=True)])
        is_same = self.photos.people[real.first] == self.photos.people[real.second]
        reasons = collections.Counter(real.reason.tolist())
        return {"one_person": int(is_same.sum()), "others": int((~is_same).sum()), **reasons}


def look(source: str, min_cosine: float, embed: Embed | None) -> dict[str, Any]:
    """Counts the photos of a database that are taken for one, without the network and with it."""
    return again(read(source), None, min_cosine, embed)


def again(
    photos: Photos, missed: dict[str, np.ndarray] | None, min_cosine: float, embed: Embed | None
) -> dict[str, Any]:
    """Searches for copies that were missed, with the network, and for the photos themselves with and without."""
    nothing = np.empty((0, *photos.faces.shape[1:]), np.uint8)
    search = Searches(photos, min_cosine)
    counts = np.unique(photos.people, return_counts=True)[1]
    num, num_same = len(photos.people), int((counts * (counts - 1) // 2).sum())
    result: dict[str, Any] = {
        "num_photos": num,
        "pairs_of_one_person": num_same,
        "other_pairs": num * (num - 1) // 2 - num_same,
        "found": {DEFAULT: search.count()},
        "planted": {},
    }
    if embed is not None:
        copies, row, kind = (missed["faces"], missed["row"], missed["kind"]) if missed else (nothing, nothing, nothing)
        embedding = embed(np.concatenate([photos.faces, copies]))
        search = Searches(photos._replace(embedding=embedding[:num]), min_cosine)
        result["found"][AUDITED] = search.count()
        if missed:
            is_found = search.hits(search.find(copies, embedding[num:]), row)
            result["planted"] = dict(collections.Counter(kind[is_found].tolist()))
    return result


def add(rounds: list[dict[str, Any]], further: dict[str, int]) -> dict[str, Any]:
    """Returns of each kind how many copies were found in all rounds and further, and with 95% confidence."""
    from mint_keras.statistics import bounds

    found = {}
    for kind in ALTERATIONS:
        num, hits = map(sum, zip(*(one["planted"][kind] for one in rounds), strict=True))
        hits += further.get(kind, 0)
        share = dataclasses.asdict(bounds.exact_interval(hits, num))
        found[kind] = {"planted": num, "found": hits, **share, "missed_at_most": bounds.upper_limit(num - hits, num)}
    return found


def render(content: dict[str, Any]) -> str:
    """Returns the content of copies.json as Markdown tables, the worst kind first."""
    from mint_keras.report import tables
    from mint_keras.statistics import bounds
    from mint_keras.statistics.intervals import Estimate

    searches = [name for name in (DEFAULT, AUDITED) if name in content["planted"]]
    default = content["planted"][DEFAULT]
    columns = [f"{name}, {what}" for name in searches for what in ("found", "share", "missed at most (95%)")]
    rows = [["planted", *columns]]
    for kind in sorted(default, key=lambda kind: (default[kind]["found"] / default[kind]["planted"], kind)):
        rows.append([kind])
        for one in (content["planted"][name][kind] for name in searches):
            share = Estimate(one["value"], one["low"], one["high"], 1)
            rows[-1] += [f"{one['found']:,} of {one['planted']:,}", str(share), f"{one['missed_at_most']:.1%}"]
    columns = [
        "photos",
        "search",
        "pairs of one person",
        "taken for one photo",
        "other pairs",
        "taken",
        "at most (95%)",
    ]
    pairs = [columns]
    for source, of in content["sources"].items():
        for name in searches:
            same, others = of["found"][name]["one_person"], of["found"][name]["others"]
            limit = bounds.upper_limit(others, of["other_pairs"])
            row = [f"{source} ({of['num_photos']:,})", name, f"{of['pairs_of_one_person']:,}", f"{same:,}"]
            pairs.append([*row, f"{of['other_pairs']:,}", f"{others:,}", f"{limit:.1e}"])
    return f"{tables.format_table(rows)}\n\n{tables.format_table(pairs)}"
