"""The look network of an audit: a face network other than the audited one that knows the faces at hand.

What it tells apart is not membership, so it is the control that a competent audited network has to beat. It also says
who is who: one person under two names would be on two sides of a comparison.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mint_keras import borders, formats, progress, score_files, shelf
from mint_keras.aad import views
from mint_keras.aad.observe import observe
from mint_keras.audited import iresnet, runtime, taps, zoo
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images, registration, splits
from mint_keras.data import protocol as protocols
from mint_keras.records import InputError, Labelled, Observations, SampleTable, Scores
from mint_keras.scorers.contract import cross_fit
from mint_keras.scorers.look import Look
from mint_keras.statistics import division, identities, paired
from mint_keras.statistics.identities import Competence

FOLDER = "look"
_CHOICE = "look.json"
# Where the user names none: the one of these that knows the faces at hand best. The lab's know drawn faces.
_SHELF = ("dlib", "lab2", "lab3")
_NUM_PEOPLE, _NUM_PHOTOS = 100, 2  # by whom the networks of the shelf are compared


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The look network of an audit, and what it found out about the people.

    Attributes:
        name: Its name, or "" if there is none.
        folder: Where it lies, or its name on the shelf; None if no network knows the faces at hand well enough to be a
            control and to say who is who.
        competence: How well it knows them.
        native: The side to which larger images are shrunk first, in pixels; 0 for none, as in the run.
        groups: Names that are one person.
        said: What the report says of it and of the identities.
    """

    name: str
    folder: Path | None
    competence: Competence
    native: int
    groups: tuple[tuple[str, ...], ...]
    said: tuple[str, ...]


def choose(protocol: protocols.Protocol, audited: Path, native: int, given: Path | None, folder: Path) -> Chosen:
    """Returns the look network, tried on the members and on the other people of their database; what is there is read.

    Args:
        protocol: Who is compared.
        audited: The folder of the audited model.
        native: See `Chosen`.
        given: The folder of the network that the user names; None for the best of the shelf.
        folder: Where the choice is kept.

    Raises:
        InputError: if the network that was given is the audited one.
    """

    def read(path: Path) -> Chosen:
        found = formats.read_json(path)
        where = Path(borders.find_beside(found["folder"], path.parent)) if found["folder"] else None
        groups = tuple(map(tuple, found["groups"]))
        return Chosen(found["name"], where, Competence(**found["competence"]), native, groups, tuple(found["said"]))

    def write(path: Path, chosen: Chosen) -> None:
        where = borders.beside(str(chosen.folder), path.parent) if chosen.folder else ""
        competence = chosen.competence._asdict()
        formats.write_json(path, {**dataclasses.asdict(chosen), "folder": where, "competence": competence})

    return formats.kept(folder / FOLDER / _CHOICE, lambda: _choose(protocol, audited, native, given), write, read)


def _choose(protocol: protocols.Protocol, audited: Path, native: int, given: Path | None) -> Chosen:
    if zoo.kind_of(audited) != zoo.KIND:
        why = "Look network: none, since those of the shelf know faces and the audited model is about pictures."
        return Chosen("", None, Competence(None, None, 0, 0), native, (), (why,))
    sha256 = formats.sha256_file(shelf.find(audited) / formats.MODEL)
    table = protocol.table.take(division.of_reference(protocol).rows)
    small = pictures(table)
    once = table.take(small.is_distinct)
    few = once.take(_few_people(once))
    small_few = pictures(few)
    tried: dict[str, tuple[Path, Competence]] = {}
    for path in progress.bar([given] if given else [Path(name) for name in _SHELF], desc="look", unit="network"):
        if formats.sha256_file(shelf.find(path) / formats.MODEL) != sha256:
            seen = embed(path, few, native)
            tried[path.name] = path, identities.competence(seen[taps.OUTCOME], seen.people(), small_few)
    if not tried:
        raise InputError(f"Expected --look to be another network than the audited one, received {given}.")
    name = max(tried, key=lambda one: tried[one][1].low or 0.0)
    path, _ = tried[name]
    seen = embed(path, table, native)
    competence = identities.competence(seen[taps.OUTCOME], seen.people(), small)
    # Whoever hands in another file than the one in use may hand in one that recognises nobody.
    own = embed(audited, table, native)[taps.OUTCOME]
    known = identities.competence(own, table.people(), small)
    said = [f"Look network {name}: {competence.describe()}", f"Audited network: {known.describe()}"]
    if not competence.is_competent:
        said.append("Who is who was not checked.")
        return Chosen(name, None, competence, native, (), tuple(said))
    by, merged = identities.best_merged({name: seen[taps.OUTCOME], "the audited network": own}, seen.people(), small)
    said.append(f"Who is who, by {by}: {merged.describe()}")
    # Where many people under two names would be missed, nobody knows how many independent people there are.
    known_to = path if merged.is_checked else None
    return Chosen(name, known_to, competence, native, merged.groups, tuple(said))


def regroup(
    protocol: protocols.Protocol, groups: Sequence[Sequence[str]]
) -> tuple[protocols.Protocol, tuple[str, ...]]:
    """Returns a protocol in which names that are one person are one, and what is said of it.

    Whoever would then be on both sides of membership is left out, and so are test photos of those who trained heads.
    """
    if not groups:
        return protocol, ()
    alias = {name: group[0] for group in groups for name in group}
    people = protocol.table.people()
    person = np.array([alias.get(name, name) for name in people.tolist()])
    members = np.isin(protocol.part, (protocols.TRAIN_MEMBERS, protocols.TEST_MEMBERS))
    training = np.isin(protocol.part, (protocols.TRAIN_MEMBERS, protocols.TRAIN_EXTERNALS))
    both, known = (np.intersect1d(person[side], person[~side]) for side in (members, training))
    is_out = np.isin(people, list(alias)) & (np.isin(person, both) | (np.isin(person, known) & ~training))
    table = renamed(protocol.table, alias)
    is_out |= table.people() != person  # who could not be renamed would be two people
    num = len(np.unique(people[is_out]))
    said = f"{num} of the joined names are left out, because their person would be on two sides or in two databases."
    part = np.where(is_out, protocols.left_out(protocol.part), protocol.part)
    return dataclasses.replace(protocol, table=table, part=part), (said,)


def regrouped(scores: Iterable[Scores], protocol: protocols.Protocol) -> list[Scores]:
    """Returns scores of a protocol's samples by the people that `regroup` made of them, without those left out."""
    used = protocol.table.take(protocol.part >= 0)
    place = {name: row for row, name in enumerate(used.sample_id.tolist())}
    found = []
    for one in scores:
        kept = np.flatnonzero(np.isin(one.samples.sample_id, used.sample_id))
        rows = [place[name] for name in one.samples.sample_id[kept].tolist()]
        found.append(dataclasses.replace(paired.take(one, kept), samples=used.take(np.array(rows, int))))
    return found


def by_look(chosen: Chosen, table: SampleTable, photos: Labelled, evaluation: str, seed: int, folder: Path) -> Scores:
    """Returns what the look network tells apart of some rows of a table, cross-fitted; what is there is read."""
    assert chosen.folder is not None  # noqa: S101 # callers ask for the control only if there is one
    where = chosen.folder

    def make() -> list[Scores]:
        seen = embed(where, table.take(photos.rows), chosen.native)
        return [cross_fit(Look(), seen, photos.is_member, evaluation, seed, chosen.name)]

    path = folder / FOLDER / evaluation / formats.SCORES
    return formats.kept(path, make, score_files.write_scores, score_files.read_scores)[0]


def embedder(path: Path, with_views: bool = False) -> FaceFunction:
    """Returns a function from faces to the embeddings of a network in a folder, "outcome", (n, d).

    With views it also gives what `views.with_views` adds.
    """
    forward = runtime.forward(taps.extractor(zoo.load_audited(path, zoo.kind_of(path)), [taps.OUTCOME]))

    def embed_faces(faces: np.ndarray) -> dict[str, np.ndarray]:
        return forward(iresnet.normalise(faces))

    return views.with_views(embed_faces, embed_faces) if with_views else embed_faces


def embed(path: Path, table: SampleTable, native: int, with_views: bool = False) -> Observations:
    """Returns what `embedder` gives of samples.

    Raises:
        InputError: if a photo cannot be read, because rows are found by their place.
    """
    return _all(table, observe(table, embedder(path, with_views), zoo.framing(path, native)))


def pictures(samples: SampleTable | Observations) -> identities.Pictures:
    """Returns what small pictures say of samples, read again, whatever a network makes of them.

    Raises:
        InputError: if a photo cannot be read.
    """
    framing = images.Framing(is_face=False)  # whatever shape a network takes
    seen = observe(
        samples, lambda faces: {"rough": registration.grey(faces, registration.ROUGH)}, framing, is_filled=False
    )
    return identities.Pictures.of(_all(samples, seen)["rough"], seen.people())


def _all(samples: SampleTable | Observations, seen: Observations) -> Observations:
    if len(seen) < len(samples):
        raise InputError(f"Expected {len(samples)} photos that can be read, received {len(seen)}.")
    return seen


def as_reference(name: str, seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a reference's embeddings, and what it says of views if anything, as `log_odds.through` finds them."""
    named = {taps.OUTCOME: name, **{own: f"{own}_{name}" for own in views.ADDED}}
    return {given: seen[own] for own, given in named.items() if own in seen}


def _few_people(table: SampleTable) -> np.ndarray:
    """Returns the rows of two photos of each of some people who have as many."""
    rows = splits.choose_photos(table.people(), table.sample_id, _NUM_PHOTOS, 1)
    if not len(rows):  # nobody has two: competence says so
        return np.arange(min(len(table), _NUM_PEOPLE))
    names = np.unique(table.people()[rows])
    return rows[np.isin(table.people()[rows], names[:: max(1, len(names) // _NUM_PEOPLE)])]


def renamed(table: SampleTable, alias: dict[str, str]) -> SampleTable:
    """Returns a table in which people who have an alias, both as `database/person`, have that name."""
    old = table.people().tolist()
    new = [alias.get(name, name) for name in old]
    # A person is of one database: whoever has an alias in another one keeps the name.
    group = [
        name.partition("/")[2] if name.partition("/")[0] == database else before.partition("/")[2]
        for name, before, database in zip(new, old, table.database.tolist(), strict=True)
    ]
    return dataclasses.replace(table, group=np.array(group))
