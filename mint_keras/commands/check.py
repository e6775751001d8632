r"""Say what verdicts are possible with this model and these folders at all, before anything takes long.

Nothing is computed with the model unless --minutes is given. It reads who is on the photos and looks at a few of them,
says which references there are and how small an effect they could find, what is missing, and what would change the
answer.

Examples:
    python scripts/check.py --audited lab
    python scripts/check.py --audited downloads/net.onnx --members faces/lfw --externals faces/utkface
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mint_keras import formats, shelf
from mint_keras.commands import Result
from mint_keras.records import InputError, SampleTable
from mint_keras.shelf import LAB

if TYPE_CHECKING:  # with SciPy, which the help has no need of
    from mint_keras.report.preflight import Material

_MOST = 1000  # photos that an audit looks at by default: 500 test members, and as many of people who were kept out
_LOOKED_AT = 32  # photos of each source, far apart
_OF_PICTURES = "audited_classifier"
_PASSES = 5  # the audited model, three untrained copies, a look network


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
        minutes: Run the model for some seconds, and say how long looking at the photos will take here at least.
    """

    audited: Path = LAB
    members: str = ""
    externals: tuple[str, ...] = ()
    held_out: str = ""
    unseen_photos: str = ""
    swap: Path | None = None
    # A switch: it loads TensorFlow, and all else is said in seconds.
    minutes: bool = False


@dataclasses.dataclass(frozen=True)
class Checked(Result):
    """The verdicts that are possible, the strongest first, and what is missing."""

    outcomes: tuple[str, ...]
    missing: tuple[str, ...]


def check(options: Check) -> Checked:
    """Lists the samples, and says what an audit could say of them."""
    from mint_keras.data import samples
    from mint_keras.report import preflight

    folder = shelf.find(options.audited)
    sources = (str(folder), options.members, options.held_out, options.unseen_photos, *options.externals)
    places = {one: {one, one.partition("=")[2] or one} for one in sources if one and ":" not in one}
    if len(lost := [one for one, paths in places.items() if not any(Path(path).exists() for path in paths)]) > 1:
        raise InputError(f"Expected folders, sample tables or lab faces, received {', '.join(lost)}: not found.")
    is_there = (folder / formats.MANIFEST).is_file()
    manifest = formats.read_json(folder / formats.MANIFEST) if is_there else {}
    named = {"members": (options.members, formats.MEMBERS), "kept out": (options.held_out, formats.HELD_OUT)}
    tables = {
        name: samples.list_samples(given or str(folder / listed))
        for name, (given, listed) in named.items()
        if given or (folder / listed).is_file()
    }
    samples.check_databases((named[name][0], table) for name, table in tables.items())
    missing = list(_missing(options, folder, manifest, tables))
    material = _material(options, tables, manifest) if "members" in tables else preflight.Material(0)
    listed = {**tables, **{source: samples.list_samples(source) for source in options.externals}}
    lines = [preflight.describe(material), *(f"Missing: {one}." for one in missing)]
    for name, table in listed.items():
        lines.append(f"{name}: {preflight.count(table)}{_unusable(table, manifest)}")
    if options.minutes and (folder / formats.MODEL).is_file():
        lines.append(_minutes(folder, min(sum(map(len, tables.values())), _MOST)))
    return Checked("\n".join(lines), preflight.outcomes(material), tuple(missing))


def _missing(
    options: Check, folder: Path, manifest: Mapping[str, Any], tables: Mapping[str, SampleTable]
) -> Iterator[str]:
    """Yields what an audit wants and is not there."""
    from mint_keras.data import synthetic
    from mint_keras.data.people import by_key

    if not (folder / formats.MODEL).is_file():
        yield f"a converted model: {options.audited} holds none (mint convert --weights FILE)"
    elif not any((folder / name).is_file() for name in (formats.VERIFICATION, formats.PARITY)):
        yield "a proof that the model recognises faces (mint verify)"
    if "members" not in tables:
        yield "samples that the model was trained on (--members)"
    if not options.externals and not synthetic.is_synthetic(str(manifest.get("config", {}).get("data"))):
        yield "samples of other databases, which mint train needs (--externals)"
    if options.swap and not (shelf.find(options.swap) / formats.MEMBERS).is_file():
        yield f"the members of --swap, {formats.MEMBERS} beside it"
    sides = [by_key(table.people()) for table in tables.values()]
    if len(sides) > 1 and (both := sorted(sides[0].keys() & sides[1].keys())):
        yield f"people on one side each: {len(both):,} are among the members and kept out, such as {sides[0][both[0]]}"


def _unusable(table: SampleTable, manifest: Mapping[str, Any]) -> str:
    """Says how many of some photos, looked at here and there, no run could use as they are, "" if none."""
    import numpy as np

    from mint_keras.data import images

    some = table.take(np.unique(np.linspace(0, len(table) - 1, _LOOKED_AT, dtype=int)))
    reader = images.FaceReader(images.Framing(is_face=manifest.get("kind") != _OF_PICTURES))
    for _ in reader.batches(some, 1):
        pass
    if not (rejected := reader.rejected):
        return ""
    remedy = " mint prepare cuts out faces." if "an aligned face" in rejected[0].reason else ""
    said = f"{len(rejected)} of {len(some)} that were looked at cannot be used as they are, such as"
    return f"; {said} {rejected[0].location}: {rejected[0].reason}{remedy}"


def _material(options: Check, tables: Mapping[str, SampleTable], manifest: Mapping[str, Any]) -> Material:
    """Returns the people of an audit."""
    import numpy as np

    from mint_keras.data import samples
    from mint_keras.report import preflight

    members, kept_out = tables["members"], tables.get("kept out")
    if kept_out is not None:
        kept_out = kept_out.take(~np.isin(kept_out.people(), members.people()))
    others = shelf.find(options.swap) / formats.MEMBERS if options.swap else None
    return preflight.with_options(
        preflight.of_tables(members, kept_out, manifest.get("kind") != _OF_PICTURES),
        members,
        samples.list_samples(options.unseen_photos) if options.unseen_photos else None,
        samples.list_samples(str(others)) if others and others.is_file() else None,
    )


def _minutes(folder: Path, num_photos: int) -> str:
    """Says how long the passes of an audit take on this machine, from a few seconds of them."""
    import numpy as np

    from mint_keras import environment

    environment.import_tensorflow()
    from mint_keras.aad import plan, views
    from mint_keras.audited import zoo

    kind, size = zoo.kind_of(folder), zoo.framing(folder).size
    faces = np.random.default_rng(1).integers(0, 255, (32, size, size, 3), np.uint8)
    rate = plan.rate({"audited": views.face_function(zoo.load_audited(folder, kind))}, faces, len(faces))
    seconds = _PASSES * num_photos / rate
    return (
        f"Looking at {num_photos:,} photos through {_PASSES} networks, as an audit does, takes "
        f"{plan.duration(seconds)} here, as busy as this machine is now; fitting comes on top."
    )
