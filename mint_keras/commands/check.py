r"""Say what verdicts are possible with this model and these folders at all, before anything takes long.

Nothing is computed with the model. It reads who is on the photos, says which references there are and how small an
effect they could find, what is missing, and what would change the answer.

Examples:
    python scripts/check.py --audited lab
    python scripts/check.py --audited downloads/net.onnx --members faces/lfw --externals faces/utkface
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mint_keras import formats, shelf
from mint_keras.commands import Result
from mint_keras.shelf import LAB


# Not of `options.Common`: nothing is written, and nothing draws bars.
@dataclasses.dataclass(frozen=True)
class Check:
    """Options of check.py.

    Attributes:
        audited: The audited model: its folder, a name of the shelf, or a file that is still to be converted.
        members: Samples that it was trained on, as train_mint.py takes them; members.parquet beside the model by
            default.
        externals: Samples of other databases.
        held_out: People of the members' database whom the model never saw; held_out.parquet beside the model by
            default, where there is one.
        unseen_photos: Other photos of the members' people that were not used.
        swap: Folder of another audited model, trained on other people of the members' own database.
    """

    audited: Path = LAB
    members: str = ""
    externals: tuple[str, ...] = ()
    held_out: str = ""
    unseen_photos: str = ""
    swap: Path | None = None


@dataclasses.dataclass(frozen=True)
class Checked(Result):
    """The verdicts that are possible, the strongest first, and what is missing."""

    outcomes: tuple[str, ...]
    missing: tuple[str, ...]


def check(options: Check) -> Checked:
    """Lists the samples, and says what an audit could say of them."""
    import numpy as np

    from mint_keras.data import samples
    from mint_keras.data.people import are_unknown
    from mint_keras.report import preflight

    folder = shelf.find(options.audited)
    manifest = formats.read_json(folder / formats.MANIFEST) if (folder / formats.MANIFEST).is_file() else {}
    missing = []
    if not (folder / formats.MODEL).is_file():
        missing.append(f"a converted model: {options.audited} holds none (mint convert --weights FILE)")
    elif not any((folder / name).is_file() for name in (formats.VERIFICATION, formats.PARITY)):
        missing.append("a proof that the model recognises faces (mint verify)")

    def beside(given: str, name: str) -> str:
        return given or (str(folder / name) if (folder / name).is_file() else "")

    named = {
        "members": beside(options.members, formats.MEMBERS),
        "held out": beside(options.held_out, formats.HELD_OUT),
    }
    tables = {name: samples.list_samples(source) for name, source in named.items() if source}
    if "members" not in tables:
        missing.append("samples that the model was trained on (--members)")
    if not options.externals and not manifest.get("config", {}).get("data"):
        missing.append("samples of other databases, which mint train needs (--externals)")
    said, material = [], preflight.Material(0)
    if (members := tables.get("members")) is not None:
        material = preflight.of_tables(
            preflight.members_of(members), tables.get("held out"), manifest.get("kind") != "audited_classifier"
        )
        others = shelf.find(options.swap) / formats.MEMBERS if options.swap else None
        if others and not others.is_file():
            missing.append(f"the members of --swap, {formats.MEMBERS} beside it")
        material = preflight.with_options(
            material,
            members,
            samples.list_samples(options.unseen_photos) if options.unseen_photos else None,
            samples.list_samples(str(others)) if others and others.is_file() else None,
        )
    for name, table in [*tables.items(), *((source, samples.list_samples(source)) for source in options.externals)]:
        is_unknown = are_unknown(table.people())
        known, num_unknown = len(np.unique(table.people()[~is_unknown])), int(is_unknown.sum())
        unknown = f", {num_unknown:,} of unknown identity" if num_unknown else ""
        said.append(f"{name}: {len(table):,} photos of {known:,} people{unknown}")
    lines = [preflight.describe(material), *(f"Missing: {one}." for one in missing), *said]
    return Checked("\n".join(lines), preflight.outcomes(material), tuple(missing))
