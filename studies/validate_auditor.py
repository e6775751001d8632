r"""Ask the auditor about worlds whose truth is known: how often does it accuse wrongly, how often does it find?

Small audited models are trained on drawn people. In null worlds the claimed members were never trained on: they are of
another database than the externals, or of the model's own, or of neither. Every world is decided from its scores by the
rule of audit.py. Beside it stands what a reader would say who takes raw MINT accuracy for membership. An interrupted
command continues.

Examples:
    python scripts/validate_auditor.py --quick --out runs/validation-quick
    python scripts/validate_auditor.py --plan --out runs/validation
    python scripts/validate_auditor.py --out runs/validation
    python scripts/validate_auditor.py --worlds familiar both --out runs/validation
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mint_keras import formats, progress, score_files
from mint_keras.commands import Result
from mint_keras.data import samples
from mint_keras.options import Common
from mint_keras.records import InputError
from studies.worlds import drawing
from studies.worlds.spec import USABLE, World, WorldsSpec

if TYPE_CHECKING:
    from studies.worlds.networks import WorldsLab

KIND = "validation"
RESULTS, TEXT, PLOT = "validation.json", "validation.md", "validation.png"
COMMITTED = Path(__file__).resolve().parent / "worlds" / "committed"
# Measured on one core: training of a model; one network's look at a model's people; scores of a world and the verdict.
_SECONDS = {"model": 55, "network": 20, "world": 8}
_SECONDS_OF_VERDICT = 3


@dataclasses.dataclass(frozen=True)
class ValidateAuditor(WorldsSpec, Common):
    """Options of validate_auditor.py.

    Attributes:
        out: Folder for validation.json, validation.md, validation.png, and the models and worlds behind them.
        quick: Make nothing, and decide 18 worlds again from their committed scores (studies/worlds/committed).
        plan: Say what would be made, what is there already and about how long it takes, and do nothing.
        made: Make no more worlds, and decide on those that are there: what an interrupted validation says so far.
        worlds: Make only one world of each of these kinds, as an auditor meets it: a model, lists of samples, a run of
            train_mint.py; and say how audit.py is called on it. neither, shift (without people who were kept out),
            familiar, membership or both.
    """

    out: Path
    quick: bool = False
    plan: bool = False
    made: bool = False
    worlds: tuple[str, ...] = ()

    @property
    def spec(self) -> WorldsSpec:
        """All worlds that are asked for: what decides the results."""
        return WorldsSpec(**{field.name: getattr(self, field.name) for field in dataclasses.fields(WorldsSpec)})


@dataclasses.dataclass(frozen=True)
class Validation(Result):
    """What the auditor said.

    Attributes:
        content: The content of validation.json; empty where nothing was decided (--plan, --worlds).
    """

    content: dict[str, Any]


def validate_auditor(options: ValidateAuditor) -> Validation:
    """Makes the worlds that are missing, decides on each from its scores, and counts.

    Raises:
        InputError: for sizes that make no worlds, or, with --quick, if there are no committed scores.
        RefusedError: if --out was made with other options.
    """
    if unknown := sorted(set(options.worlds) - set(drawing.KINDS)):
        raise InputError(f"Expected worlds of {list(drawing.KINDS)}, received {unknown}.")
    if sum(map(bool, (options.worlds, options.quick, options.made))) > 1 or (options.worlds and options.plan):
        raise InputError("Expected one of --worlds, --quick and --made, and --plan without --worlds, received more.")
    options.spec.check()
    worlds = _committed() if options.quick else [*options.spec.all_worlds(), *options.spec.references()]
    folder = COMMITTED if options.quick else options.out / "scores"
    paths = {world: folder / f"{world.name}.parquet" for world in worlds}
    if options.quick and options.plan:
        seconds = _SECONDS_OF_VERDICT * len(worlds)
        return Validation(f"{len(worlds)} worlds from the scores in {folder}; about {seconds} seconds of a core.", {})
    # What follows loads TensorFlow.
    from studies.worlds import as_met, networks, picture, summary

    lab = networks.WorldsLab(options.spec, options.out)
    if options.plan:
        return Validation(_plan(lab, paths), {})
    if options.quick:
        manifest = formats.make_manifest(KIND, {one.name: formats.sha256_file(path) for one, path in paths.items()}, {})
    else:
        manifest = _manifest(options.spec)
    with formats.output_folder(options.out, manifest, options.overwrite):
        if options.worlds:
            kinds = progress.bar(options.worlds, desc="worlds", unit="world")
            return Validation("\n".join(as_met.make(lab, kind) for kind in kinds), {})
        if options.made:
            paths = {world: path for world, path in paths.items() if path.is_file()}
            if {True, False} - {world.is_member for world in paths}:
                raise InputError(f"Expected worlds with and without members in {folder}, received {len(paths)} in all.")
        elif not options.quick:
            _make(lab, paths)
        decided = _decide(paths, options.out / "verdicts")
        models = {
            int(path.parent.name): path for path in (options.out / "usable").glob(f"models/*/{formats.VERIFICATION}")
        }
        verified = {number: formats.read_json(models[number]) for number in sorted(models)}
        content = summary.summarise(decided) | {"verification": {str(number): one for number, one in verified.items()}}
        said = summary.render(content)
        formats.write_json(options.out / RESULTS, content)
        formats.write_text(options.out / TEXT, said)
        picture.save(options.out / PLOT, decided, "Worlds of known truth: the verdicts, and raw MINT")
    return Validation(f"{said}\nWritten: {options.out / RESULTS}, {TEXT}, {PLOT}", content)


def _manifest(spec: WorldsSpec) -> dict[str, Any]:
    """Returns the manifest of worlds that are made: networks and photos by what they are, not by where they lie."""
    photos = {"faces": spec.faces, "labelled": spec.labelled}
    inputs = {name: samples.fingerprint(samples.list_samples(one)) for name, one in photos.items() if one}
    if spec.usable:
        inputs["usable"] = formats.sha256_file(Path(spec.usable) / formats.MODEL)
    return formats.make_manifest(KIND, inputs, {**dataclasses.asdict(spec), "usable": "", **dict.fromkeys(photos, "")})


def _committed() -> list[World]:
    found = sorted(World.parse(path.stem) for path in COMMITTED.glob("*.parquet"))
    if not found:
        raise InputError(f"Expected the scores of worlds in {COMMITTED}, received none: run it in the repository.")
    return found


def _plan(lab: WorldsLab, paths: dict[World, Path]) -> str:
    numbers = range(1, lab.spec.num_models + 1)
    models = sum(not lab.is_trained(number) for number in numbers)
    networks = sum(3 + lab.spec.num_untrained - lab.num_looked(number) for number in numbers)
    worlds = sum(not path.is_file() for path in paths.values())
    costs = {"model": models, "network": networks, "world": worlds}
    minutes = sum(_SECONDS[name] * num for name, num in costs.items()) / 60
    beside = f" and {lab.spec.num_usable} fine-tuned networks, which are not counted" if lab.spec.usable else ""
    return (
        f"{len(paths)} worlds of {lab.spec.num_models} audited models{beside}. To be made: {models} models, {networks} "
        f"looks of a network at a model's people, {worlds} worlds; about {minutes:.0f} minutes of a core."
    )


def _make(lab: WorldsLab, paths: dict[World, Path]) -> None:
    from studies.worlds import references, scores, usable

    missing = [world for world, path in paths.items() if not path.is_file()]
    if not missing:
        return
    spec, models = lab.spec, list(dict.fromkeys(world.model for world in missing))
    if any(number < USABLE for number in models):
        for number in progress.bar(range(1, spec.num_models + 1), desc="audited models", unit="model"):
            lab.train(number)
    good = usable.of_worlds(spec, lab.out / "usable")
    with progress.bar(total=len(missing), desc="worlds", unit="world") as bar:
        for number in models:
            people = lab.look(number) if number < USABLE else good.look(number - USABLE)
            for world in [world for world in missing if world.model == number]:
                if not paths[world].is_file():  # another process may have been here meanwhile
                    make = references.score if world.kind in drawing.REFERENCES else scores.score
                    score_files.write_scores(paths[world], make(spec, world, people))
                bar.update()


def _decide(paths: dict[World, Path], folder: Path) -> list[Any]:
    from studies.worlds import verdicts

    found = []
    for world, path in progress.bar(paths.items(), desc="verdicts", unit="world"):
        # The intervals of a verdict take seconds: an interrupted validation does not decide twice.
        def decide(world: World = world, path: Path = path) -> dict[str, Any]:
            return dataclasses.asdict(verdicts.decide(world, score_files.read_scores(path)))

        kept = formats.kept(folder / f"{world.name}.json", decide, formats.write_json, formats.read_json)
        found.append(verdicts.from_json(kept))
    return found
