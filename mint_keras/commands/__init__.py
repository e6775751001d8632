"""The commands, one module each: options, check, call, result.

A module X has a dataclass of options named like it (`train_mint`: `TrainMint`) and a function of its own name, from the
options to a `Result`. Its docstring is the help. Whatever takes long to import is imported inside the function, so
that every --help answers at once.
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar

from mint_keras.records import Shown

Spec = TypeVar("Spec")


@dataclasses.dataclass(frozen=True)
class Result(Shown):
    """What a command found and made; `text` says it for people."""

    text: str


class Command(NamedTuple):
    """An entry of the table of commands."""

    module: str  # in this package; the script of that name is the same command
    summary: str  # one line for `mint --help`
    has_keras: bool = True  # whether it always runs TensorFlow, whose libraries print notices while they load


def options_class(module: str) -> str:
    """Returns the name of a command's class of options: TrainMint of train_mint."""
    return "".join(word.title() for word in module.split("_"))


def spec_of(kind: type[Spec], options: Any) -> Spec:
    """Returns a dataclass of the floors below, all of whose fields are options of the same names."""
    return kind(**{field.name: getattr(options, field.name) for field in dataclasses.fields(kind)})  # type: ignore[arg-type] # a dataclass


# By the word behind `mint`, in the order in which one meets them.
COMMANDS = {
    "convert": Command("convert_fr", "convert a face-recognition model to Keras, proven tap by tap"),
    "verify": Command("verify_fr", "say how well a model recognises faces"),
    "inspect": Command("inspect_database", "say what a folder or file of photos holds", has_keras=False),
    "prepare": Command("prepare_faces", "find faces on photos and cut them out for the models", has_keras=False),
    "overlap": Command("find_overlap", "find photos and people that two databases share", has_keras=False),
    "protocol": Command("make_protocol", "choose who trains and who tests, as in the paper", has_keras=False),
    "extract": Command("extract_aad", "keep what the taps of an audited model give"),
    "check": Command("check", "say what verdicts are possible at all, before anything long", has_keras=False),
    "train": Command("train_mint", "train MINT heads, and say what their figures are worth"),
    "evaluate": Command("evaluate_mint", "evaluate the heads of a run again"),
    "audit": Command("audit", "say whether a run is evidence of training use", has_keras=False),
    "attacks": Command("attacks", "rank attacks on members and others who are known"),
    "tables": Command("make_tables", "make the paper's tables and Figure 5"),
    "export": Command("export_tflite", "export a run's head as a bundle for a laptop"),
    "score": Command("score", "score photos with a bundle, offline and without TensorFlow", has_keras=False),
    "train-audited": Command("train_audited", "train a model whose members are known"),
}
