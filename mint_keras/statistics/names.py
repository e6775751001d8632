"""What scorers are called for people who know no statistics. JSON and annexes have the names that experts know."""

from typing import NamedTuple


class Plain(NamedTuple):
    """A name for everybody, and one sentence that says what is done."""

    name: str
    sentence: str


_NAMES = {
    "mint plus on photo with others": Plain(
        "photos beside the person's other photos",
        "It looks at what the model makes of a photo, and of the same person's other photos.",
    ),
    "mint plus on person": Plain(
        "all photos of a person together",
        "It looks at what the model makes of all photos of a person, and judges the person.",
    ),
    "mint plus on photo": Plain(
        "one photo at a time", "It looks at what the model makes of a single photo, and knows no other of the person."
    ),
    "log-odds": Plain(
        "comparison with other networks",
        "It asks how much more sure the model is of a person than networks that were not trained on that person.",
    ),
    "embedding norm, cross-model swap": Plain(
        "strength of the answer in two models",
        "It measures how strongly two models, each trained on other people, answer to the same photos.",
    ),
    "vanilla on": Plain(
        "the trained test of the MINT paper",
        "A small network learned, from photos of other people, to tell members by signals inside the model.",
    ),
}
_NAMES["cnn on"] = _NAMES["vanilla on"]
_OTHERS = Plain("a simple measure", "It looks at a few numbers that the model gives for a photo.")


def plain(scorer: str) -> Plain:
    """Returns what a scorer of an audit is called for everybody, with the number of photos where it has one."""
    begins = next((one for one in _NAMES if scorer.startswith(one)), "")
    # A baseline is called by its name and its tap; whoever calls a scorer otherwise knows it by that.
    found = _NAMES.get(begins, _OTHERS if " on " in scorer else Plain(scorer, ""))
    # What is behind the name, such as how many photos each, is plain already.
    rest = scorer.removeprefix(begins) if begins else ""
    return found._replace(name=f"{found.name}{rest}") if rest.startswith(", ") else found
