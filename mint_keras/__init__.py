"""mint_keras: was this face photo used to train that face-recognition model?

    import mint_keras as mint

    model = mint.load_model("models/fr1")                                      # or a Keras model
    seen = mint.observe(model, mint.samples("faces/members", "faces/kept_out", database="ours"))
    head = mint.Head("vanilla", taps=["conv1"]).fit(seen[train], is_member[train])
    head.evaluate(seen[test], is_member[test])                                 # Keras' own evaluate underneath
    scorer = mint.MintPlus().fit(seen[known], is_member[known])
    controls = [mint.untrained(model, 3), mint.pixels(), mint.look(mint.load_model("dlib"))]
    mint.audit(scorer, seen[others], is_member[others], controls)

Importing it loads neither TensorFlow nor anything else that takes long; `mint --help` lists the commands.
"""

import importlib
from typing import Any

from mint_keras import environment

__version__ = "0.2.0"

# The table of contents: each name with the module that it comes from.
_CONTENTS = {
    "AuditedModel": "api.audited_model",
    "Head": "scorers.head",
    "InputError": "records",
    "LogOdds": "scorers.log_odds",
    "MintPlus": "scorers.mint_plus",
    "Observations": "records",
    "RefusedError": "records",
    "audit": "api.auditing",
    "convert": "api.audited_model",
    "foreign": "api.auditing",
    "load_model": "api.audited_model",
    "look": "api.auditing",
    "observe": "api.observing",
    "pixels": "api.auditing",
    "samples": "api.observing",
    "score_photos": "edge.scoring",
    "split_calibration": "scorers.mint_plus",
    "untrained": "api.auditing",
}

environment.prepare()


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _CONTENTS[name].startswith(("records", "edge")):
        importlib.import_module(f"{__name__}.api")  # TensorFlow, without its notices
    return getattr(importlib.import_module(f"{__name__}.{_CONTENTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_CONTENTS)
