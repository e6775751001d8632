"""Worlds of known truth: who is claimed was trained on or was not, and nobody plays two parts."""

import numpy as np
import pytest

from mint_keras.data import protocol, synthetic
from mint_keras.records import InputError
from studies.worlds import drawing

SIZES = drawing.Sizes(claimed=6, held_out=4, externals=3)


@pytest.fixture(scope="module")
def people() -> drawing.People:
    def of(database: str, first: int, num: int) -> object:
        return synthetic.sample_table(f"synthetic:1/{database}/{first}-{first + num - 1}/3")

    return drawing.People(of("web", 0, 6), {name: of(name, 100, 16) for name in ("web", "news", "phone")})


def databases(table: object) -> set[str]:
    return set(table.database.tolist())


@pytest.mark.parametrize("kind", drawing.KINDS)
def test_what_is_true(kind: str, people: drawing.People) -> None:
    trained_on = set(people.members.people())
    for seed in range(5):
        found = drawing.draw(kind, people, SIZES, np.random.default_rng(seed))
        claimed = set(found.members.people())
        assert len(claimed) == SIZES.claimed
        assert (claimed <= trained_on) if drawing.KINDS[kind].is_member else not claimed & trained_on
        assert found.held_out is not None
        assert len(set(found.held_out.people())) == SIZES.held_out
        assert not set(found.held_out.people()) & trained_on
        home = databases(found.members)
        assert databases(found.held_out) == home  # only membership differs from the reference
        assert (home == {"web"}) == drawing.KINDS[kind].is_home
        if drawing.KINDS[kind].is_shifted:
            assert found.evaluate is not None
            assert len(home | databases(found.externals) | databases(found.evaluate)) == 3
        else:
            assert found.evaluate is None
            assert databases(found.externals) == home
        protocol.check_people(protocol.make_protocol(found, 6, 9, 1))


def test_the_same_draw_comes_again_and_another_differs(people: drawing.People) -> None:
    def draw(seed: int) -> list[str]:
        return drawing.draw("familiar", people, SIZES, np.random.default_rng(seed)).members.sample_id.tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_too_few_people_and_another_kind(people: drawing.People) -> None:
    many = drawing.Sizes(claimed=6, held_out=14, externals=3)
    with pytest.raises(InputError, match="more people for a world"):
        drawing.draw("familiar", people, many, np.random.default_rng(1))
    with pytest.raises(InputError, match="'flat'"):
        drawing.draw("flat", people, SIZES, np.random.default_rng(1))
