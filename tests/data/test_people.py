"""Who is on the photos of a folder, by all of its names: kinds of folders that people have."""

from __future__ import annotations

import unicodedata

import pytest

from mint_keras.data import people
from mint_keras.data.people import unknown


def photos(*folders: str, names: str = "image_{:04d}.jpg", num: int = 4, start: int = 1) -> list[str]:
    return [f"{folder}/{names.format(k)}" for folder in folders for k in range(start, start + num)]


def who(names: list[str], layout: str = people.FOLDERS) -> set[str]:
    """The people found; "?" for photos of nobody known."""
    return {"?" if one.startswith("?") else one for one in people.read(names, layout).identity}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (photos("ann", "bob"), "ann bob"),
        (photos("ann", "bob", names="{}_20230405.jpg"), "ann bob"),
        (photos("ann", "bob", names="{:03d}_0001.jpg"), "ann bob"),
        (photos("a", "b", "c"), "a b c"),
        (photos("s1", "s2", names="{}.pgm"), "s1 s2"),
        (photos("0000045", "0000099", names="{:03d}.jpg"), "0000045 0000099"),
        (photos("n000001", "n000002", names="{:04d}_01.jpg"), "n000001 n000002"),
        (photos("Camila", "Daye", "Victor"), "Camila Daye Victor"),
        (photos("train", "ann"), "train ann"),
        # Parts, at any depth and around.
        (photos("train/ann", "train/bob", "val/ann", "Test/bob"), "ann bob"),
        (photos("ann/train", "ann/test", "bob/train"), "ann bob"),
        (photos("training_set/ann", "test_set/ann"), "ann"),
        (photos("db/images/train/ann", "db/images/val/ann"), "ann"),
        (photos("members/ann", "externals/bob"), "ann bob"),
        (photos("lfw/Ann_Aa", "lfw/Bob_Bb"), "Ann_Aa Bob_Bb"),
        (photos("lfw/lfw/Ann_Aa", "lfw/lfw/Bob_Bb"), "Ann_Aa Bob_Bb"),
        (photos("A/Ann", "A/Abe", "B/Bob"), "Ann Abe Bob"),
        (photos("part1/images/7381461", "part2/images/7381461"), "7381461"),
        (photos("Training/ann", "Validierung/bob"), "ann bob"),
        (photos("Trainingsdaten/ann", "Testdaten/ann", "Prüfdaten/bob"), "ann bob"),
        (photos("entrenamiento/ann", "validación/ann", "prueba/bob"), "ann bob"),
        (photos("apprentissage/ann", "évaluation/ann"), "ann"),
        (photos("treinamento/ann", "avaliação/bob"), "ann bob"),
        (photos("addestramento/ann", "validazione/bob"), "ann bob"),
        (photos("Valida/wedding", "ann/holiday"), "Valida ann"),
        (photos("allenamento/ann", "verifica/ann", "allenamento/bob"), "ann bob"),
        (photos("Trainingsgegevens/ann", "toets/ann", "validatie_2/bob"), "ann bob"),
        # Names that begin like these words, and words of one role alone.
        (photos("Testa/portraits", "Trainor/portraits_2"), "Testa Trainor"),
        (photos("Lerner", "Trainor", "Testa", "Valida"), "Lerner Trainor Testa Valida"),
        (photos("Lerner/portraits", "Testa/portraits"), "Lerner Testa"),
        (photos("Prova/wedding", "Toets/holiday"), "Prova Toets"),
        (photos("Lern/portraits", "Testa/work"), "Lern Testa"),
        # Splits in whatever language: who is in two of them would be two people.
        (photos("szkolenie/ann", "szkolenie/bob", "walidacja/ann"), "?"),
        (photos("szkolenie/ann", "szkolenie/bob", "walidacja/cleo"), "szkolenie walidacja"),
        (photos(*(f"szkolenie/{name}" for name in ("ann", "bob", "cleo", "dee")), "walidacja/ann"), "?"),
        # Of four people two were at one wedding.
        (photos("Ann/wedding", "Ann/work", "Bob/wedding", "Cid/beach", "Dee/ski"), "Ann Bob Cid Dee"),
        # Years, sessions and videos inside, also uneven.
        (photos("ann/2019", "ann/2020", "bob/2019"), "ann bob"),
        (photos("2019/ann", "2020/ann", "2020/bob"), "ann bob"),
        (photos("ann", "ann/2020", "bob"), "ann bob"),
        (photos("ann/2021-05-01", "bob/2021-06-11 party"), "ann bob"),
        (photos("Ann_Aa/0", "Ann_Aa/1", "Bob_Bb/0", names="0.{}.jpg"), "Ann_Aa Bob_Bb"),
        (photos("id10001/1zcIwhmdeo4", "id10001/7gWzIy6yIIk", "id10002/xTV-jFAUKcw"), "id10001 id10002"),
        (photos("ann/session1", "ann/session2", "bob/session1"), "ann bob"),
        (photos("ann/cam_a", "bob/cam_a"), "ann bob"),
        (photos("ann/happy", "ann/sad", "bob/happy"), "ann bob"),
        (photos("happy/ann", "sad/ann", "sad/bob"), "ann bob"),
        (photos("ann/wedding", "ann/holiday", "bob/garden"), "ann bob"),
        (photos("left/ann", "right/ann", "right/bob"), "ann bob"),
        (photos("112x112/ann", "224x224/ann", "224x224/bob"), "ann bob"),
        (photos("January/ann", "May/ann", "May/bob"), "ann bob"),
        (photos("Summer 2019/ann", "Winter 2020/ann", "Winter 2020/bob"), "ann bob"),
        # What stands behind a person's name, and behind a database's.
        (photos("ann_2019", "ann_2020", "bob_2019"), "ann bob"),
        (photos("ann-train", "ann-test", "bob-train"), "ann bob"),
        (photos("ann_session1", "ann_session2", "bob_session1"), "ann bob"),
        (photos("ann", "ann (2)", "ann - Copy", "bob"), "ann bob"),
        (photos("lfw_train/ann", "lfw_test/ann", "lfw_test/bob"), "ann bob"),
        (photos("lfw_train", "lfw_test"), "?"),
        (photos("person_1999", "person_2000", "person_3"), "person_1999 person_2000 person_3"),
        # Groups whose people are numbered.
        (photos("male/001", "male/002", "female/001"), "male/001 male/002 female/001"),
        # No people.
        (photos("00000", names="{:05d}.png", start=0) + photos("00001", names="{:05d}.png", start=1000), "?"),
        (photos("00000", names="{:05d}.png", start=0) + photos("01000", names="{:05d}.png", start=1000), "?"),
        (photos("part_0", "part_1"), "?"),
        (photos("0-999", "1000-1999"), "?"),
        (photos("1-000003", "1-000004"), "1-000003 1-000004"),
        ([f"{n:02x}/{n:02x}{k:08x}.jpg" for n in (3, 171) for k in range(4)], "?"),
        ([f"{n}/{n * 150 + k}.jpg" for n in range(3) for k in range(150)], "?"),
        (photos("00000-00999", "01000-01999"), "?"),
        (photos("train-00000-of-00010", "train-00001-of-00010"), "?"),
        ([f"{n % 10}/{n:05d}.jpg" for n in range(40)], "?"),
        ([f"{n:02d}/nm00{k}{n:02d}_rm{k}.jpg" for n in (3, 17) for k in range(100, 104)], "?"),
        ([f"{n:02x}/{k:08x}{n:02x}.jpg" for n in (3, 171) for k in range(4)], "?"),
        ([f"{who}_{k}/face.jpg" for who in ("ann", "bob") for k in range(9)], "?"),
        (photos("age_20", "age_30"), "?"),
        (photos("happy", "sad"), "?"),
        (photos("0_Male", "1_Female"), "?"),
        (photos("train/real", "train/fake", "test/real"), "?"),
        (photos("2019", "2020"), "?"),
        (photos("train", "test"), "?"),
        (photos("cats_of_x", "dogs_of_x", num=1200), "?"),
        ([name.partition("/")[2] for name in photos("ann", num=9)], "?"),
        ([f"{age}_Ann_Aa_{k:04d}.jpg" for age in (20, 30) for k in range(3)], "?"),
        # Some of them.
        ([*photos("ann"), "loose.jpg"], "ann ?"),
        (photos("ann", "unknown", "-1", "NaN"), "ann ?"),
        (photos("ann", "nOnE", "Unknown 3", "unknown_person", "N.A.", "(undefined)", "to_sort", "strangers"), "ann ?"),
        (photos("Nona", "Nane", "Nan_Goldin", "Na"), "Nona Nane Nan_Goldin Na"),
    ],
)
def test_who_is_on_the_photos(names: list[str], expected: str) -> None:
    assert who(names) == set(expected.split())


def test_many_people_in_few_groups_and_the_other_way_round() -> None:
    assert len(who([f"group{g}/p{g}_{p}/1.jpg" for g in range(3) for p in range(60)])) == 180
    assert len(who([f"id{p}/v{p}_{v}/1.jpg" for p in range(60) for v in range(3)])) == 60
    # People before cameras, or words of speakers: whoever reads the inner folders may put a speaker on both sides.
    assert who([f"{camera}/p{p}x/1.jpg" for camera in ("Canon", "Nikon") for p in range(24)]) == {"?"}
    assert who([f"s{p}/word{chr(97 + w)}a/1.jpg" for p in range(4) for w in range(24)]) == {"?"}
    assert who([f"{camera}/{p}/1.jpg" for camera in ("Canon", "Nikon") for p in range(24)]) == {"?"}


def test_spaces_forms_of_unicode_and_invisible_characters_are_one_name() -> None:
    forms = ["Zoë", unicodedata.normalize("NFD", "Zoë"), "Zoë ", " Zoë", "Zo\u200bë", "\uff3aoë", "ZOË"]
    assert who([f"{form}/{k}.jpg" for k, form in enumerate(forms)]) == {"Zoë"}
    assert not people.is_unknown("Nan Na")
    assert not people.is_unknown("Na")


def test_a_reading_that_is_asked_for() -> None:
    flat = [f"{age}_{name}_{k:04d}.jpg" for age in (20, 30) for name in ("Ann_Aa", "Bob_Bb") for k in range(3)]
    assert who(flat, people.NAMES) == {"Ann_Aa", "Bob_Bb"}
    assert "--layout names" in people.read(flat).notes[0]
    assert who(["7.jpg"], people.NAMES) == {"?"}
    assert who(photos("ann/2019", "bob"), people.INNER) == {"ann/2019", "bob"}
    assert people.read(photos("ann"), people.FLAT).identity[0] == unknown("ann/image_0001.jpg")


def test_two_readings_are_said() -> None:
    found = people.read(photos("ann/wedding", "ann/holiday", "bob/garden"))
    assert found.how == "the outer folder"
    assert "--layout inner-folders would make 3 people" in found.notes[0]
    assert "look like shards" in people.read([*photos("00000", names="{:05d}.png", start=0), "00001/01000.png"]).how


def test_takes_of_takes_are_one_person() -> None:
    assert who([f"{name}/1.jpg" for name in ("Ann", "Ann_2004", "Ann_2004 (1)", "Bob")]) == {"Ann", "Bob"}


@pytest.mark.parametrize("endings", [("", "_masked"), ("_1", "_2", "_3"), ("-20230401", "-20230402")])
def test_endings_that_all_names_have_are_said_and_decide_nothing(endings: tuple[str, ...]) -> None:
    folders = [f"{name}{ending}" for name in ("Ann Lee", "Bob", "Cid", "Dan") for ending in endings]
    reading = people.read([f"{folder}/{k}.jpg" for folder in folders for k in (1, 2)])
    assert sorted(set(reading.identity)) == sorted(folders)
    assert f"4 names, such as 'Ann Lee', with one of {len(endings)} endings" in " ".join(reading.notes)


@pytest.mark.parametrize(
    "folders",
    [
        ["Ann_Lee", "Bob_Lee", "Ann_Poe", "Cid_Moe"],
        [f"{group}_{number}" for group in ("male", "female") for number in range(9)],
        [f"id_{number}" for number in range(9)],
        ["Ann", "Bob", "Cid_masked"],
    ],
)
def test_names_of_two_words_have_no_endings(folders: list[str]) -> None:
    reading = people.read([f"{folder}/{k}.jpg" for folder in folders for k in (1, 2)])
    assert "endings" not in " ".join(reading.notes)


SPELLINGS = [
    ("Ann Lee", "ann lee"), ("Ann_Lee", "Ann-Lee"), ("Ann Lee", "Ann%20Lee"), ("Ann", "Ann."), ("Ann.Lee", "Ann  Lee"),
    ("Ann", "Ann\ufe0f"), ("Ann", "A\u034fnn"), ("Ann", "Ann\u3164"), ("Ann", "Ann\u115f"), ("Ann", "Ann\u2800"),
    ("Ann", "Ann\U000e0100"), ("Ann", "Ann\u180b"), ("Ann-Lee", "Ann\u2010Lee"), ("Strasse", "Stra\u00dfe"),
    ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"), ("\u00c9va", "e\u0301va"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_spellings_are_one_person_wherever_they_are_and_are_said(one: str, other: str) -> None:
    assert people.key(one) == people.key(other)
    reading = people.read(photos(one, other, "Bob", "Cid"))
    assert len(set(reading.identity)) == 3
    if people.canonical(one) != people.canonical(other):
        assert any(note.startswith("Names such as ") for note in reading.notes)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "012"), ("12", "\u0661\u0662"), ("00001", "00010"), ("1-000003", "10-00003"), ("Ann", "Anna"),
        ("m.0_1b", "m.01b"), ("m.03cx", "m.03cx_"), ("1.5", "15"), ("---", "+"), ("?a-1.jpg", "?a_1.jpg"),
    ],
)  # fmt: skip
def test_numbers_and_others_stay_apart(one: str, other: str) -> None:
    assert people.key(one) != people.key(other)


@pytest.mark.parametrize("copy", ["Ann (10)", "Ann - Kopie", "Ann - copia", "Ann - Copy (12)"])
def test_copies_of_folders_in_other_languages(copy: str) -> None:
    assert len(set(people.read(photos("Ann", copy, "Bob", "Cid")).identity)) == 3
