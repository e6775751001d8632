"""Every scorer of an audit has a name and a sentence for everybody."""

import pytest

from mint_keras.statistics import names


@pytest.mark.parametrize(
    ("scorer", "name"),
    [
        ("mint plus on photo", "one photo at a time"),
        ("mint plus on photo, image", "one photo at a time, image"),
        ("mint plus on photo with others, 2 photos each", "photos beside the person's other photos, 2 photos each"),
        ("mint plus on person, 3 photos each", "all photos of a person together, 3 photos each"),
        ("log-odds, 2 photos each", "comparison with other networks, 2 photos each"),
        ("embedding norm, cross-model swap", "strength of the answer in two models"),
        ("embedding norm on outcome", "a simple measure"),
        ("vanilla on conv1", "the trained test of the MINT paper"),
        ("cnn on combination", "the trained test of the MINT paper"),
    ],
)
def test_plain_names(scorer: str, name: str) -> None:
    found = names.plain(scorer)
    assert found.name == name
    assert found.sentence.endswith(".")
    assert not any(word in found.name + found.sentence for word in ("MINT+", "conv", "AUC", "outcome", "logit"))
