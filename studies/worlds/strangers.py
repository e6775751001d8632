r"""Ask the auditor about people of one photo each, split unevenly by sex, age or race; nobody is a member.

The look network cannot show on single photos that it knows people, so the rule gives no evidence of any. The other
column supposes that it had shown it: what else keeps the auditor from accusing. An interrupted command continues.

Example:
    python -m studies.worlds.strangers --network models/mobilefacenet --faces utkface --out runs/strangers
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mint_keras import formats, progress
from mint_keras.aad.observe import observe
from mint_keras.audited import recalibration, zoo
from mint_keras.audited.runtime import FaceFunction
from mint_keras.data import images, samples
from mint_keras.data import protocol as protocols
from mint_keras.options import parse
from mint_keras.records import AUDITED, UNTRAINED, InputError, Observations, SampleTable
from mint_keras.report import tables
from mint_keras.scorers import blind
from mint_keras.statistics import figures, findings, intervals, verdict
from studies import arrays
from studies.worlds import scores, usable, verdicts
from studies.worlds.drawing import PIXELS
from studies.worlds.spec import World

RESULTS = "strangers.json"
AS_IT_IS, IF_COMPETENT = "as it is", "if the look network were competent"
SKEWS = (("sex", 0.75), ("sex", 0.65), ("age", 0.75), ("race", 0.75))
_NUM_DRAWS, _NUM_PEOPLE, _NUM_A_SIDE, _NUM_SPARE = 8, 1500, 300, 128
_PEOPLE, _SPARE = 7, 5  # seeds
_STREAMS = {"sex": 3, "age": 3, "race": 4}


@dataclasses.dataclass(frozen=True)
class Strangers:
    """Options of the study.

    Attributes:
        network: The audited network, a folder of convert_fr.py.
        faces: Square faces whose attributes say sex, age and race, such as UTKFace's, each of another person.
        out: Folder for strangers.json, and what networks make of the faces.
    """

    network: Path
    faces: str
    out: Path


def strangers(options: Strangers) -> str:
    """Draws and decides what is missing, and returns the table."""
    listed = samples.list_samples(options.faces)
    model = formats.sha256_file(options.network / formats.MODEL)
    manifest = formats.make_manifest("strangers", {"network": model, "faces": samples.fingerprint(listed)}, {})
    with formats.output_folder(options.out, manifest):
        listed = listed.take(np.sort(np.random.default_rng(_PEOPLE).permutation(len(listed))[:_NUM_PEOPLE]))
        table, by_network = look(listed, options.network, options.out)
        path = options.out / RESULTS
        done = formats.read_json(path)["draws"] if path.is_file() else []
        tasks = [(trait, share, number) for trait, share in SKEWS for number in range(_NUM_DRAWS)]
        for trait, share, number in progress.bar(tasks[len(done) :], desc="draws", unit="draw"):
            done.append(decide(trait, share, number, table, by_network))
            formats.write_json(path, {"draws": done})
    return render({"draws": done})


def look(listed: SampleTable, network: Path, out: Path) -> tuple[SampleTable, dict[str, Observations]]:
    """Returns the faces that can be read, and what the network, a copy of it, `dlib` and pixels make of them."""
    rows, faces = images.read_faces(listed)
    table = listed.take(rows)
    table = dataclasses.replace(table, identity=table.sample_id, group=None)  # nobody says so: it is supposed

    def untrained() -> FaceFunction:
        spare = faces[np.random.default_rng(_SPARE).permutation(len(faces))[:_NUM_SPARE]]
        return usable.face_function(recalibration.recalibrated_copy(zoo.load_audited(network), spare, 2))

    def seen_by(how: Callable[[], FaceFunction], is_filled: bool) -> Mapping[str, np.ndarray]:
        seen = observe(Observations(table, {images.PIXELS: faces}), how(), is_filled=is_filled)
        return {key: values for key, values in seen.arrays.items() if key not in (images.PIXELS, blind.THUMBNAILS)}

    looks: dict[str, Callable[[], FaceFunction]] = {
        PIXELS: lambda: blind.features,
        AUDITED: functools.partial(usable.face_function, network),
        findings.LOOK: functools.partial(usable.face_function, Path("dlib")),
        f"{UNTRAINED}_1": untrained,
    }
    found = {}
    for name, how in looks.items():
        make = functools.partial(seen_by, how, name != PIXELS)
        found[name] = Observations(table, formats.kept(out / f"{name}.npz", make, arrays.write, arrays.read))
    return table, found


def draw(has_it: np.ndarray, share: float, rng: np.random.Generator, num: int) -> np.ndarray:
    """Returns rows: the claimed, of whom a share has a trait, then as many others, of whom the rest has it.

    Args:
        has_it: Who has the trait, shape (n,), bool.
        share: The share of the claimed.
        rng: Draws them.
        num: The number of people a side.

    Raises:
        InputError: if too few people have it, or have it not.
    """
    first, second = rng.permutation(np.flatnonzero(has_it)), rng.permutation(np.flatnonzero(~has_it))
    most = round(num * share)
    least = num - most
    if min(len(first), len(second)) < num:
        raise InputError(f"Expected {num} people with and without a trait, received {len(first)} and {len(second)}.")
    return np.concatenate([first[:most], second[:least], first[most:num], second[least:num]])


def decide(
    trait: str, share: float, number: int, table: SampleTable, by_network: Mapping[str, Observations]
) -> dict[str, Any]:
    """Draws two groups and returns what the auditor says of them, and the AUC of every scorer."""
    rng = np.random.default_rng([number, round(100 * share), _STREAMS[trait]])
    drawn = draw(usable.has_traits(table)[trait], share, rng, _NUM_A_SIDE)
    part = np.repeat([protocols.TEST_MEMBERS, protocols.HELD_OUT], _NUM_A_SIDE)
    protocol = protocols.Protocol(table.take(drawn), part, protocols.UNSEEN_DATABASE, 1)
    seen = {name: one.take(drawn) for name, one in by_network.items()}
    is_competent = scores.who_is_who(seen, protocol)[1]
    found: dict[str, Any] = {"trait": trait, "share": share, "number": number, "is_competent": is_competent}
    for how, supposed in ((AS_IT_IS, is_competent), (IF_COMPETENT, True)):
        parts = scores.of_reference(seen, protocol, supposed, 1)
        decided = verdicts.decide(World(1, number + 1, "alike"), parts)
        areas = {
            f"{one.scorer} on {one.tap}, {one.model}": intervals.estimate(
                [one], names=[figures.AUC], method="student"
            )[figures.AUC]
            for one in parts
        }  # fmt: skip
        found[how] = {
            "outcome": decided.outcome,
            "headlines": decided.headlines,
            "auc": {name: dataclasses.asdict(area) for name, area in areas.items()},
        }
    return found


def render(content: dict[str, Any]) -> str:
    """Returns the content of strangers.json as a Markdown table."""
    rows = [
        [
            "claimed : others",
            "draws",
            *(f"{how}: {one}" for how in (AS_IT_IS, IF_COMPETENT) for one in verdict.OUTCOMES),
        ]
    ]
    for trait, share in SKEWS:
        of = [one for one in content["draws"] if (one["trait"], one["share"]) == (trait, share)]
        counts = [collections.Counter(one[how]["outcome"] for one in of) for how in (AS_IT_IS, IF_COMPETENT)]
        cells = [str(count[outcome]) for count in counts for outcome in verdict.OUTCOMES]
        rows.append([f"{trait}, {100 * share:.0f}:{100 - 100 * share:.0f}", str(len(of)), *cells])
    return tables.format_table(rows)


if __name__ == "__main__":
    try:
        sys.stdout.write(
            strangers(parse(Strangers, __doc__ or "", program="python -m studies.worlds.strangers")) + "\n"
        )
    except InputError as error:
        sys.exit(f"error: {error}")
