"""Who is on the photos of a folder, as far as the names of folders and files say: a claim, read from all of them.

A wrong reading puts one person on two sides of a comparison. So where two readings are possible, the one with fewer and
larger people is taken, the other is said, and what says nothing of people leaves identities unknown.
"""

import collections
import itertools
import re
import statistics
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mint_keras.texts import Texts

FOLDERS, INNER, NAMES, FLAT = "folders", "inner-folders", "names", "unknown"
# Readings that a user can ask for, and what they are.
READINGS = {
    FOLDERS: "by folders",
    INNER: "the folder that a photo lies in",
    NAMES: "the name of the file, without an age before it and numbers behind it",
    FLAT: "nobody knows",
}
# Names of parts, not people. Whoever is below several of them is one person.
_SPLITS = (
    r"(?:train|training|val|valid|validation|dev|devel|eval|evaluation|test|testing|hold(?:_?out)?|gallery|probe|query"
    r"|members?|externals?|enrol+(?:ed|ment)?|kept[-_ ]?out|held[-_ ]?out)"
    r"(?:[-_ ]?(?:set|data|images?|imgs?|faces?|crops?|\d{1,2}))*"
)
_PARTS = re.compile(
    rf"(?:my|public|private)?[-_ ]?{_SPLITS}"
    r"|images?|imgs?|photos?|pictures?|pics?|faces?|frames?|crops?|cropped|aligned|raw|data|jpe?g|png|originals?",
    re.IGNORECASE,
)
# Of German, Spanish, French, Italian, Portuguese and Dutch: who trains, and who validates or tests. Whole words of both
# are parts; a single one may be somebody, as may Testa and Trainor.
_ROLES_ABROAD = [
    re.compile(rf"(?:{words})(?:s?[-_ ]?(?:set|data|daten|datos|dados|dati|gegevens|\d{{1,2}}))?", re.IGNORECASE)
    for words in (
        r"train(?:ing|en)?|lern|entrenamiento|apprentissage|entra[iî]nement|(?:addestra|allena|treina)mento|treino",
        r"val|convalida|valid(?:ation|ierung|aci[oó]n|azione|a[cç][aã]o|atie)?|test(?:s|es?|ing)?|pr(?:ü|ue)f(?:ung)?"
        r"|pruebas?|essais?|prova|toets|[eé]valua(?:tion|ci[oó]n|tie)|evaluierung|verifica|valutazione|avalia[cç][aã]o",
    )
]
_TAKES = (
    r"(?:session|sess|video|vid|clip|seq|sequence|take|cam|camera|day|visit|scene|shot|track|part|shard|chunk|batch"
    r"|split|subset|fold|disk|vol|volume|bucket|album|dcim|age|upload|import|export|folder|dir|page|set|dataset|block)"
)
_YEAR = r"(?:19|20)\d\d"
# Of these a person may have several, too. 1-000003 is somebody, the third person of the first source.
_SESSIONS = re.compile(
    rf"{_YEAR}|{_YEAR}[-_. ]?[01]?\d(?:[-_. ]?[0-3]?\d)?(?:[-_ T].*)?|[0-3]?\d[-_.][01]?\d[-_.]{_YEAR}"
    rf"|{_TAKES}[-_ ]?(?:\d{{1,6}}|[a-z])?|\d{{3}}(?:apple|canon|nikon|nd\w+|msdcf)"
    r"|(?!\d{1,3}[-_]0\d{4})\d+[-_]\d+|.*\d[-_]of[-_]\d+|[a-z]|\d+x\d+|\d+px"
    r"|(?:jan|febr?|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)(?:uary|ch|il|ust|ember|ober)?"
    rf"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:spring|summer|autumn|fall|winter)[-_ ]?(?:{_YEAR})?"
    r"|left|right|front|frontal|profile|day|night|indoors?|outdoors?|before|after|[hl]r|rgb|nir|vis|ir|thermal|depth",
    re.IGNORECASE,
)
# Behind a name, with something between them, the same tells takes of one person apart; so do the numbers of copies.
_BEHIND = re.compile(
    rf"(?P<name>.*?[^-_ ])(?:[-_ ]+(?:{_SPLITS}|{_YEAR}|{_TAKES}[-_ ]?\d{{1,6}})| ?\(\d{{1,2}}\)"
    r"| - (?:cop(?:y|ie|ia)|kop(?:ie|ia|i)|c[oó]pia)(?: ?\(\d{1,2}\))?)",
    re.IGNORECASE,
)
# Two people of these may have one number.
_GROUP_WORDS = "male female man men woman women boy boys girl girls asian white black indian caucasian african latino "
_GROUPS = frozenset(_GROUP_WORDS.split())
_CLASS_WORDS = (
    "child children kid kids adult adults young old baby elderly happy sad angry anger disgust disgusted "
    "fear fearful neutral surprise surprised contempt happiness sadness smiling not_smiling real fake "
    "spoof live attack genuine bonafide mask no_mask with_mask without_mask masked unmasked glasses "
    "no_glasses other positive negative pos neg cat cats dog dogs non_face background good bad yes no "
)
_CLASSES = _GROUPS | frozenset(_CLASS_WORDS.split())
_UNKNOWN = re.compile(
    r"na[nt]|none|null|-1|unk|n/a|n\.a\.|nil|nobody|misc|others|to[-_ ]?sort|anonym(?:ous)?"
    r"|(?:un(?:known|labell?ed|identified|named|sorted|defined|assigned|tagged|classified)|no[-_ ]?name|stranger"
    r"|distractor)s?(?:[-_ ]?(?:person|people|face|identity|id|subject|user)s?)?[-_ ]*\d*",
    re.IGNORECASE,
)
# What is not seen, beside the category Cf; what looks like a space; and what stands between the parts of a name.
_INVISIBLE = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0000-\U000e0fff]")
_BLANK = re.compile("[\u115f\u1160\u2800\u3164\uffa0]")
_BETWEEN = re.compile(r"(?:[\s_.\-\u2010-\u2015\u2212]|%20)+")
_FREEBASE = re.compile(r"[mg]\.[01]\w*")  # MS-Celeb-1M's people: _ is a digit there
_MARK = "?"  # begins the identity of whoever nobody knows; no person's name does
_MANY = 1000  # photos of a folder, from where it is more likely a class: MS1MV3's people have at most a few hundred
_FULL = 100  # files of a full shard at least
_FEW_SPLITS = 4
_FEW_GROUPS, _MANY_PEOPLE = 20, 50  # so few folders with so many inside are groups of people
_AGE_NAME_NUMBER = re.compile(r"(?:\d{1,3}_)?(?P<name>.*?[^\W\d_].*?)[-_. (]*\d*\)?")


class Reading(NamedTuple):
    """Who is on the photos: the identity of each, how it was read, and what else may be meant."""

    identity: list[str]
    how: str
    notes: tuple[str, ...] = ()


def unknown(name: str) -> str:
    """Returns the identity of a face of which nobody knows whose it is; each has one of its own."""
    return _MARK + name


def are_unknown(people: np.ndarray) -> np.ndarray:
    """Returns of which of `SampleTable.people`, shape (n,), nobody knows who they are."""
    if isinstance(people, Texts):
        parts = [part for part in (people.stems, people.tails) if part is not None]
        return np.any([are_unknown(part) for part in parts], axis=0)[people.stem_of]
    return np.char.find(np.asarray(people, np.str_), f"/{_MARK}") >= 0


def known_units(people: np.ndarray) -> np.ndarray:
    """Returns people, `SampleTable.people` of shape (n,), in which all that a database does not know are one.

    So nobody can be on two sides of a split, and nobody counts as one more person.
    """
    units = np.array(people)
    rows = np.flatnonzero(are_unknown(units))
    units[rows] = [name.partition(f"/{_MARK}")[0] for name in units[rows].tolist()]
    return units


def all_match(names: Sequence[str], pattern: re.Pattern[str]) -> bool:
    """Says whether there are images and all are named as a pattern says."""
    return bool(names) and all(pattern.fullmatch(name) for name in names)


def canonical(name: str) -> str:
    """Returns one form of a person's name: spaces, invisible characters and forms of Unicode tell nobody apart."""
    if not name.isascii():
        name = "".join(letter for letter in _INVISIBLE.sub("", name) if unicodedata.category(letter) != "Cf")
        name = unicodedata.normalize("NFKC", _BLANK.sub(" ", name))
    name = " ".join(name.split())
    # Whole numbers of a column with gaps were written as floats by somebody.
    return name.removesuffix(".0") if name.removesuffix(".0").isdecimal() else name


def key(name: str) -> str:
    """Returns what spellings of a person's name have in common: neither case nor what is between its parts.

    Numbers stay as they are: of 12 and 012 each may be somebody. Two people whom a key joins are counted as one, or
    refused on two sides, so no verdict rests on them.

    Example:
        >>> key("Ann_Lee"), key("ANN%20Lee."), key("012")
        ('ann lee', 'ann lee', '012')
    """
    if name.isdecimal() or name.startswith(_MARK) or _FREEBASE.fullmatch(name := canonical(name)):
        return name
    return unicodedata.normalize("NFKC", _BETWEEN.sub(" ", name.casefold())).strip() or name


def by_key(people: np.ndarray) -> dict[str, str]:
    """Returns people, `SampleTable.people` of shape (n,), by what names of one person have in common."""
    parts = ((name.partition("/"), name) for name in np.unique(people).tolist())
    return {f"{database}/{key(person)}": name for (database, _, person), name in parts}


def spelling(name: str, first: dict[str, str]) -> str:
    """Returns the first spelling of a person's name that there was, "" if it is nobody's; `first` keeps them by key."""
    one = canonical(name)
    if one.startswith(_MARK):
        return one
    is_nobody = is_unknown(one) or is_unknown(one.rpartition("/")[2])
    return "" if is_nobody else first.setdefault(key(one), one)


def spelt(names: Iterable[str], first: dict[str, str]) -> tuple[str, ...]:
    """Returns a note on names that `spelling` reads as others, none if there are none."""
    others = {one: other for one in map(canonical, names) if (other := spelling(one, first)) not in ("", one)}
    one = min(others, default="")
    return (f"Names such as {one!r} are read as {others[one]!r}: {len(others)} in all.",) if others else ()


def as_text(value: Any) -> str:
    """Returns a cell as text; whole numbers of a column that became floats because of gaps stay whole."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def is_unknown(name: str) -> bool:
    """Says whether a name in a folder or a table stands for nobody."""
    # Na and Nan are names of people, though not of many.
    bare = name.strip(" <>()[]#?_").removesuffix(".0")
    return bare in ("", "NA", "na", "-", "--") or bool(_UNKNOWN.fullmatch(bare))


def read(names: Sequence[str], layout: str = FOLDERS) -> Reading:
    """Reads who is on photos from all of their names.

    Args:
        names: Files relative to the database, with forward slashes.
        layout: A key of `READINGS`; all but `FOLDERS` are taken at their word.
    """
    asked = {NAMES: _of_file, INNER: lambda name: name.rpartition("/")[0], FLAT: lambda name: ""}
    if layout in asked:
        return _finish(names, [asked[layout](name) for name in names], READINGS[layout], ())
    paths, notes = _without_parts([[canonical(part) for part in name.split("/")[:-1]] for name in names])
    if not any(paths):
        where = "in one folder" if not notes else "in folders that are no people's"
        found = collections.Counter(map(_of_file, names))
        if "" not in found and len(found) < len(names):
            notes.append(f"By the names of files there are {len(found)} people: --layout {NAMES} takes them.")
        return _finish(names, [""] * len(names), f"unknown, because the photos lie {where}", notes)
    tops = [path[0] if path else "" for path in paths]
    reason = "" if _are_numbered(paths, 0) and max(map(len, paths)) > 1 else _why_no_people(names, tops)
    if reason:
        notes.append(f"If they are people: --layout {INNER}.")
        return _finish(names, [""] * len(names), f"unknown, because {reason}", notes)
    if _are_conditions(paths):
        # Canon/Ann beside Nikon/Ann, or what each of a few speakers says: nothing in names tells these apart.
        notes.append(f"Folders such as {min(tops)!r} have the same folders inside. Outer or inner ones may be people.")
        return _finish(names, [""] * len(names), "unknown, because outer or inner folders may be people", notes)
    notes += _endings(set(tops) - {""})
    inner = ["/".join(path) for path in paths]
    num_top, num_inner = len(set(tops) - {""}), len(set(inner) - {""})
    if num_top == num_inner:
        return _finish(names, tops, "the folder", notes)
    other = f"{INNER} would make {num_inner} people of the inner folders"
    if _are_groups(paths):
        notes.append(f"{num_top} outer folders are read as groups of people.")
        return _finish(names, inner, "the inner folder", notes)
    notes.append(f"Inner folders are read as a person's sessions or videos; --layout {other}.")
    return _finish(names, tops, "the outer folder", notes)


def _finish(names: Sequence[str], identity: Sequence[str], how: str, notes: Sequence[str]) -> Reading:
    """Marks who is unknown, each photo by itself, and brings names into one form."""
    first: dict[str, str] = {}
    one_of = {raw: spelling(raw, first) for raw in dict.fromkeys(identity)}
    found = [one_of[raw] or unknown(name) for name, raw in zip(names, identity, strict=True)]
    return Reading(found, how, (*notes, *spelt(one_of, first)))


def _of_file(name: str) -> str:
    """Returns the person that a file's name may say: AGE_First_Last_0001.jpg or First Last (3).jpg; "" for none."""
    match = _AGE_NAME_NUMBER.fullmatch(name.rpartition("/")[2].partition(".")[0])
    return match["name"] if match else ""


def _without_parts(paths: list[list[str]]) -> tuple[list[list[str]], list[str]]:
    """Takes folders away that are parts, years, sessions or shards, at any depth; says which."""
    notes: list[str] = []
    depth = max(map(len, paths), default=0)
    for level in reversed(range(depth)):
        here = {path[level] for path in paths if len(path) > level}
        parts = {name for name in here if _PARTS.fullmatch(name)}
        roles = [{name for name in here if role.fullmatch(name)} for role in _ROLES_ABROAD]
        if all(roles) and set().union(*roles) == here:
            parts = here
        sessions = {name for name in here if _SESSIONS.fullmatch(name)}
        is_last = all(len(path) <= level + 1 for path in paths)
        # One folder `test` among people may be of a Mr Test; single letters and classes need people below.
        gone = parts if len(parts) > 1 or parts == here else set()
        if not is_last and all(_is_class(name) for name in here) and not _are_numbered(paths, level):
            gone |= here
        if sessions == here and not (is_last and any(len(name) < 3 for name in here)):
            gone |= sessions
        bare = {name: match["name"] for name in here - gone if (match := _BEHIND.fullmatch(name))}
        one_of = {name: one for name, one in bare.items() if one in here or len(bare) == len(here)}
        one_of = {name: one_of.get(one, one) for name, one in one_of.items()}  # "Ann_2004 (1)" is Ann
        if len(bare) == len(here) > len(set(bare.values())) == 1:
            gone, one_of = here, {}  # lfw_train and lfw_test
        if one_of:
            notes.append(f"Folders such as {min(one_of)!r} are read as {one_of[min(one_of)]!r}.")
        if gone and (len(here) > 1 or is_last):
            notes.append(f"Folders such as {min(gone)!r} are read as parts or sessions, not people.")
        if gone or one_of:
            paths = [[*path[:level], *(one_of.get(name, name) for name in path[level : level + 1] if name not in gone),
                      *path[level + 1 :]] for path in paths]  # fmt: skip
    while paths and len(paths[0]) > 1 and all(len(path) > 1 and path[0] == paths[0][0] for path in paths):
        notes.append(f"The folder {paths[0][0]!r} around all others is read as the database, not a person.")
        paths = [path[1:] for path in paths]
    return paths, notes[::-1]


def _is_class(name: str) -> bool:
    return re.sub(r"^\d+[-_ .]+", "", name).casefold().replace(" ", "_").replace("-", "_") in _CLASSES


def _are_numbered(paths: Sequence[Sequence[str]], level: int) -> bool:
    """Says whether groups of people number them, each from the first."""
    return all(path[level].casefold() in _GROUPS and path[-1].isdecimal() for path in paths if len(path) > level)


def _why_no_people(names: Sequence[str], tops: Sequence[str]) -> str:
    """Returns why the folders are no people, "" if they may be."""
    counts = collections.Counter(top for top in tops if top)
    stems = [name.rpartition("/")[2].partition(".")[0] for name in names]
    if all(map(_is_class, counts)):
        return f"folders such as {min(counts)!r} are classes"
    if statistics.median(counts.values()) >= _MANY:
        return f"folders of {int(statistics.median(counts.values())):,} photos are classes, albums or shards"
    without_number = set(map(_of_file, counts)) - {""}
    if max(counts.values()) == 1 and 1 < len(without_number) <= len(counts) / 2:
        return f"folders of one photo each, such as {min(counts)!r}, may number a person's photos"
    pairs = [(top, stem) for top, stem in zip(tops, stems, strict=True) if top]
    if len(counts) > 1 and any(is_shard(pairs, stems) for is_shard in _SHARDS):
        return f"folders such as {min(counts)!r} look like shards, which follow from the names of files"
    return ""


def _endings(folders: set[str]) -> list[str]:
    """Says if all folders are fewer names with the same endings, which may be takes of one person."""
    parts = {name: re.fullmatch(r"(.*[^-_. ])[-_. ]+([^-_. ]+)", name) for name in folders}
    stems = {match[1] for match in parts.values() if match}
    of: dict[str, set[str]] = collections.defaultdict(set)
    for name, match in parts.items():
        stem, ending = (match[1], match[2]) if match and name not in stems else (name, "")
        of[stem].add(ending)
    num = collections.Counter(itertools.chain.from_iterable(of.values()))
    # Of men and women, or of cameras, there are fewer than of their numbers.
    if len(of) <= len(num) or min(map(len, of.values())) < 2 or min(num.values()) < len(of) / 2:
        return []
    some = f"{len(of)} names, such as {min(of)!r}, with one of {len(num)} endings, such as {max(num)!r}"
    return [f"All folders are {some}: if a name is one person, people are counted several times."]


def _is_block(pairs: Sequence[tuple[str, str]], stems: Sequence[str]) -> bool:
    """Says whether a folder's number is a file's without its last digits, or a file's first in the folder."""
    if not all(top.isdecimal() and stem.isdecimal() for top, stem in pairs) or len(set(stems)) < len(stems):
        return False
    numbers = [(int(top), int(stem)) for top, stem in pairs]
    return any(
        all(stem // size * scale == top for top, stem in numbers) for size in (100, 1000, 10_000) for scale in (1, size)
    )


def _is_digits(pairs: Sequence[tuple[str, str]], stems: Sequence[str]) -> bool:
    """Says whether folders are the first or last digits of hashes, or the last of numbers with which files begin."""
    number = re.compile(r"([0-9a-f]{6,})(?:-[0-9a-f]+)*|\D*(\d+).*")
    found = [(top, match) for top, stem in pairs if (match := number.fullmatch(stem))]
    if len(found) < len(pairs) or any(len(top) >= len(match[1] or match[2]) for top, match in found):
        return False
    is_many = len(pairs) > len({top for top, _ in pairs})
    return all(len(top) <= 4 and (match[1] or "").startswith(top) for top, match in found) or (
        is_many and all((match[1] or match[2]).endswith(top) for top, match in found)
    )


def _is_full(pairs: Sequence[tuple[str, str]], stems: Sequence[str]) -> bool:
    """Says whether numbered folders hold equally many files, whose numbers go on from one folder to the next."""
    if not all(top.isdecimal() and stem.isdecimal() for top, stem in pairs) or len(set(stems)) < len(stems):
        return False
    by_folder: dict[int, list[int]] = collections.defaultdict(list)
    for top, stem in pairs:
        by_folder[int(top)].append(int(stem))
    ordered = [sorted(by_folder[top]) for top in sorted(by_folder)]
    goes_on = all(one[-1] < two[0] for one, two in itertools.pairwise(ordered))
    sizes = [len(one) for one in ordered]
    return goes_on and len(set(sizes[:-1])) == 1 and sizes[0] >= max(sizes[-1], _FULL)


_SHARDS = (_is_block, _is_digits, _is_full)


def _are_groups(paths: Sequence[Sequence[str]]) -> bool:
    """Says whether outer folders are groups of people, by what they are called or by how many they hold."""
    inside: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        inside[path[0] if path else ""].add("/".join(path[1:]))
    if _are_numbered(paths, 0):
        return True
    every = [name for names in inside.values() for name in names]
    is_repeated = len(set(every)) < len(every)
    return not is_repeated and len(inside) <= _FEW_GROUPS and min(map(len, inside.values())) >= _MANY_PEOPLE


def _are_conditions(paths: Sequence[Sequence[str]]) -> bool:
    """Says whether a few outer folders hold the same folders: a person may then be in several, and on two sides.

    Numbers and classes are in many people's folders; of names and words a few are enough, if all outer folders share
    some, and one half of its own: nobody else need be at the wedding of Ann and Bob.
    """
    inside: dict[str, set[str]] = collections.defaultdict(set)
    for path in paths:
        if len(path) > 1:
            inside[path[0]].add("/".join(path[1:]))
    outside = collections.Counter(itertools.chain.from_iterable(inside.values()))
    num, num_repeated = len({path[0] for path in paths if path}), sum(count > 1 for count in outside.values())
    if len(outside) >= max(_FEW_GROUPS, 5 * num):
        return num_repeated >= len(outside) / 2
    is_named = all(re.search(r"[^\W\d_]{2}", name) and not _is_class(name) for name in outside)
    is_few = 1 < num <= min(_FEW_SPLITS, len(outside))
    shared = [statistics.mean(outside[name] > 1 for name in names) for names in inside.values()]
    return is_few and is_named and min(shared) > 0 and max(shared) >= 0.5
