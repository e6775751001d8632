r"""Measure which people under two names, and which names of two people, are found by their embeddings; and by mistake.

In each of several rounds other people are split into two names, and as many share one name with somebody else; over all
rounds everybody with two photos is split once. They are looked for as an audit does, names of one person alone, and as
`inspect_database.py --audited` does. Nothing of a person's name is written. An interrupted command continues.

Examples:
    python scripts/measure_identities.py --out runs/identities
    python scripts/measure_identities.py --faces ../shared/data/lfw --networks models/lab2 --out runs/identities-lfw
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mint_keras import formats, progress
from mint_keras.commands import Result
from mint_keras.options import Common
from mint_keras.records import InputError
from mint_keras.statistics import bounds, identities
from mint_keras.statistics.identities import Merged

KIND = "identities"
RESULTS, TEXT = "identities.json", "identities.md"
SECOND = " (2)"  # what the second of two names of one person ends with


@dataclasses.dataclass(frozen=True)
class MeasureIdentities(Common):
    """Options of measure_identities.py.

    Attributes:
        out: Folder for identities.json and identities.md, and for the embeddings.
        faces: Sources of faces of known people, as train_mint.py takes them: one for each network.
        networks: What embeds them: folders of audited models, names of the shelf, or ONNX files.
        rounds: Rounds; one part in so many of the people is split in each.
        seed: Seed of who is split when, and of the pairs that say how competent a network is.
    """

    out: Path
    faces: tuple[str, ...] = ("synthetic:1/web/0-399/2",)
    networks: tuple[Path, ...] = (Path("lab2"),)
    rounds: int = 20
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class FoundIdentities(Result):
    """What was found.

    Attributes:
        content: The content of identities.json.
    """

    content: dict[str, Any]


class Planted(NamedTuple):
    """Names that are wrong on purpose.

    Attributes:
        people: The name on each photo, shape (n,).
        split: People under two names, their own and one that ends with `SECOND`.
        hidden: People who bear the name of somebody else.
        shared: The names of these.
    """

    people: np.ndarray
    split: tuple[str, ...]
    hidden: tuple[str, ...]
    shared: tuple[str, ...] = ()


def measure_identities(options: MeasureIdentities) -> FoundIdentities:
    """Embeds what is missing, and returns what the search finds.

    Raises:
        InputError: for options that measure nothing.
        RefusedError: if --out was made with others.
    """
    if options.rounds < 2 or not options.networks or len(options.networks) != len(options.faces):
        raise InputError(
            f"Expected a network for each source of faces and two rounds or more, received {len(options.networks)} "
            f"networks, {len(options.faces)} sources, {options.rounds} rounds."
        )
    settings = {"faces": options.faces, "networks": list(map(str, options.networks)), "rounds": options.rounds}
    manifest = formats.make_manifest(KIND, {}, {**settings, "seed": options.seed})
    with formats.output_folder(options.out, manifest, options.overwrite):
        worlds = []
        for number, pair in enumerate(zip(options.faces, options.networks, strict=True), 1):

            def find(pair: tuple[str, Path] = pair, number: int = number) -> dict[str, Any]:
                seen = _seen(*pair, options.out / f"embeddings_{number}.npz")
                return measure(*seen, options.rounds, options.seed)

            path = options.out / f"world_{number}.json"
            found = formats.kept(path, find, formats.write_json, formats.read_json)
            source = pair[0] if "synthetic:" in pair[0] else Path(pair[0]).name
            worlds.append({"faces": source, "network": pair[1].stem, **found})
        content = {"rounds": options.rounds, "seed": options.seed, "worlds": worlds}
        said = render(content)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, f"{said}\n")
    return FoundIdentities(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}", content)


def _seen(faces: str, network: Path, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns embeddings and names; embeds the faces if that was not done."""
    from mint_keras.audited import embedding
    from mint_keras.data import images, samples
    from studies import arrays

    def embed() -> dict[str, np.ndarray]:
        is_file = network.suffix == ".onnx"
        model = embedding.open_onnx(network) if is_file else embedding.open_model(network)
        table = samples.list_samples(faces)
        rows, shown = images.read_faces(table, model.framing)
        seen = arrays.keeping(model.embed, path.with_suffix(""))(shown)
        return {"embedding": seen, "people": table.people()[rows].astype(str)}

    found = formats.kept(path, embed, arrays.write, arrays.read)
    return found["embedding"], found["people"]


def plant(people: np.ndarray, number: int, rounds: int, seed: int) -> Planted:
    """Splits one part of the people into two names, and gives every second of another part the name of the first.

    Args:
        people: The true name on each photo, shape (n,).
        number: The round, from 0. Over all rounds everybody with two photos is split once.
        rounds: The number of parts.
        seed: Seeds the parts, and which photos get the second name.
    """
    names, count = np.unique(people, return_counts=True)
    part = np.random.default_rng(seed).permutation(len(names)) % rounds
    split = names[(part == number) & (count >= 2)]
    others = names[part == (number + 1) % rounds]
    rng, given = np.random.default_rng([seed, number]), people.astype(object)
    for name in split:
        rows = rng.permutation(np.flatnonzero(people == name))
        given[rows[: len(rows) // 2]] = name + SECOND
    hidden = others[1::2]
    for name, borrowed in zip(hidden, others[::2], strict=False):
        given[people == name] = borrowed
    return Planted(
        given.astype(str), *(tuple(some.tolist()) for some in (split, hidden, others[: 2 * len(hidden) : 2]))
    )


def judge(found: Merged, planted: Planted, true: Mapping[str, str] | None = None) -> dict[str, int]:
    """Returns how many split people were found, and how many names too few there are for people who are different.

    `true` says who a name is, where that is not the name without `SECOND`.
    """
    group_of = {name: group for group in found.groups for name in group}
    people = [{(true or {}).get(name, name.removesuffix(SECOND)) for name in group} for group in found.groups]
    return {
        "num_found": sum(name + SECOND in group_of.get(name, ()) for name in planted.split),
        "num_false": sum(len(of) - 1 for of in people),
        "largest": max(map(len, people), default=1),
    }


def _distinct(num: int) -> identities.Pictures:
    # Drawn faces and LFW: as good as none of their photos is a copy, so that their pixels need not be kept.
    return identities.Pictures(np.zeros((num, 1)), np.ones(num, bool))


def inspect(embeddings: np.ndarray, people: np.ndarray, planted: Planted) -> dict[str, int]:
    """Looks at both as `inspect_database.py --audited` does: names of several people first, and what is left of them.

    Returns:
        What `judge` does, and how many of the shared names, and of the others with two photos, look like several.
    """
    several, small = identities.several_people(embeddings, planted.people), _distinct(len(people))
    told = {name for name, cosine in several.cosine.items() if cosine < (several.threshold or -1)}
    called = several.called(planted.people)
    # Of a name's photos most are of whom it means.
    names, name_of = np.unique(called, return_inverse=True)
    true = {
        str(name): collections.Counter(people[name_of == k].tolist()).most_common(1)[0][0]
        for k, name in enumerate(names)
    }
    others = several.cosine.keys() - set(planted.shared)
    return {
        **judge(identities.same_people(embeddings, called, small), planted, true),
        "num_names": len(names),
        "num_told": len(told & set(planted.shared)),
        "num_falsely_told": len(told & others),
        "num_others": len(others),
    }


def group(embeddings: np.ndarray, people: np.ndarray) -> dict[str, int]:
    """Groups photos as of a flat folder; counts groups of two and more, and pairs of one person's photos in them."""
    found, _ = identities.unnamed_people(embeddings)
    cells = collections.Counter(zip(found.tolist(), people.tolist(), strict=True))
    sizes = np.bincount(found)
    parts = collections.Counter(number for number, _ in cells)
    pairs = [np.array(list(of.values())) for of in (cells, collections.Counter(people.tolist()))]
    return {
        "num_groups": int((sizes > 1).sum()),
        "num_photos": int(sizes[sizes > 1].sum()),
        "num_of_one": sum(parts[number] == 1 for number in np.flatnonzero(sizes > 1).tolist()),
        "num_pairs_found": int((pairs[0] * (pairs[0] - 1) // 2).sum()),
        "num_pairs": int((pairs[1] * (pairs[1] - 1) // 2).sum()),
    }


def measure(embeddings: np.ndarray, people: np.ndarray, rounds: int, seed: int) -> dict[str, Any]:
    """Returns how competent a network is, what it finds under the true names, and what of the planted.

    Raises:
        InputError: if too few people have two photos.
    """
    small = _distinct(len(people))
    competence = identities.competence(embeddings, people, small, seed)
    plain = identities.same_people(embeddings, people, small)
    if plain.num_split < identities.MIN_PEOPLE:
        raise InputError(f"Expected faces of known people with two photos or more, received others. {plain.describe()}")
    num_false = judge(plain, Planted(people, (), ()))["num_false"]
    done, num_split, num_hidden, inspected = [], 0, 0, collections.Counter[str]()
    for number in progress.bar(range(rounds), desc="rounds"):
        planted = plant(people, number, rounds, seed)
        done.append(judge(identities.same_people(embeddings, planted.people, small), planted))
        num_split, num_hidden = num_split + len(planted.split), num_hidden + len(planted.hidden)
        if competence.is_competent:  # by others inspect_database.py proposes nothing
            inspected.update(inspect(embeddings, people, planted))
    num_found = sum(one["num_found"] for one in done)
    return {
        **competence._asdict(),
        "is_competent": competence.is_competent,
        "num_photos": len(people),
        "num_names": plain.num_names,
        "threshold": plain.threshold,
        "stated_recall": plain.recall,
        "stated_false_alarm": plain.false_alarm,
        "is_checked": plain.is_checked,
        "num_copies": plain.num_copies,
        "true_names": {
            "num_false": num_false,
            "share": dataclasses.asdict(bounds.exact_interval(num_false, plain.num_names)),
            "largest": max(map(len, plain.groups), default=1),
        },
        "planted": {
            "num_split": num_split,
            "num_hidden": num_hidden,
            "num_found": num_found,
            "recall": dataclasses.asdict(bounds.exact_interval(num_found, num_split)),
            "num_false": float(np.mean([one["num_false"] for one in done])),
            "largest": max(one["largest"] for one in done),
        },
        "inspected": {name: num for name, num in inspected.items() if name != "largest"},
        "flat": group(embeddings, people) if competence.is_competent else {},
    }


def render(content: dict[str, Any]) -> str:
    """Returns the content of identities.json as a Markdown table."""
    from mint_keras.report import tables

    def share(num: int, of: int) -> str:
        return f"{num:,} of {of:,}: {bounds.exact_interval(num, of)}" if of else "too few"

    rows = [["faces", "network", "AUC, at least", "competent", "found", "stated", "joined by mistake", "stated"]]
    for world in content["worlds"]:
        planted, true = world["planted"], world["true_names"]
        num_pairs = world["num_names"] * (world["num_names"] - 1) / 2
        rows.append(
            [
                world["faces"],
                world["network"],
                f"{world['auc']:.4f}, {world['low']:.4f}",
                "yes" if world["is_competent"] else "no",
                share(planted["num_found"], planted["num_split"]),
                f"{world['stated_recall']:.3f}",
                share(true["num_false"], world["num_names"]),
                f"{world['stated_false_alarm'] * num_pairs:.1f}",
            ]
        )
    looked = [["faces", "network", "split people", "shared names", "other names, told", "names, joined by mistake"]]
    flat = []
    for world in content["worlds"]:
        if one := world["inspected"]:
            pairs = (("num_found", world["planted"]["num_split"]), ("num_told", world["planted"]["num_hidden"]),
                     ("num_falsely_told", one["num_others"]), ("num_false", one["num_names"]))  # fmt: skip
            looked.append([world["faces"], world["network"], *(share(one[name], of) for name, of in pairs)])
            of = world["flat"]
            flat.append(
                f"As a flat folder, {of['num_photos']:,} of the {world['num_photos']:,} photos of {world['faces']} "
                f"fall into {of['num_groups']:,} groups by {world['network']}, {of['num_of_one']:,} of one person; "
                f"{of['num_pairs_found'] / of['num_pairs']:.0%} of the pairs of one person's photos are in one."
            )
    return "\n\n".join([tables.format_table(rows), tables.format_table(looked), *flat])
