"""Stage: the auditor on worlds whose truth is known. How often does it accuse wrongly, how often does it find?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mint_keras import formats, score_files
from mint_keras.data import worlds
from mint_keras.records import InputError
from mint_keras.report import plots
from mint_keras.stages.progress import pace
from mint_keras.stages.validation import deciding, models, options, scoring, single, summary
from mint_keras.stages.validation.deciding import Decided
from mint_keras.stages.validation.options import ValidateAuditor, World
from mint_keras.statistics import figures

KIND = "validation"
RESULTS, TEXT, PLOT = "validation.json", "validation.md", "validation.png"
# Of one core: training of a model; one network's look at a model's people; scores of a world and the verdict.
_SECONDS = {"model": 55, "network": 20, "world": 8}
_SECONDS_OF_VERDICT = 3


def validate_auditor(config: ValidateAuditor) -> str:
    """Makes the worlds that are missing, decides on each from its scores, and counts.

    Raises:
        InputError: for sizes that make no worlds, or, with --quick, if there are no committed scores.
        RefusedError: if --out was made with other options.
    """
    options.check(config)
    chosen = _committed() if config.quick else options.all_worlds(config)
    if config.plan:
        return _plan(config, chosen)
    inputs = {world.name: formats.sha256_file(_scores(config, world)) for world in chosen} if config.quick else {}
    settings = {} if config.quick else options.content(config)
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        if config.worlds:
            bar = tqdm(config.worlds, desc="worlds", unit="world", disable=config.quiet, **pace())
            return "\n".join(single.make(config, kind) for kind in bar)
        if not config.quick:
            _make(config, chosen)
        verdicts = tqdm(chosen, desc="verdicts", unit="world", disable=config.quiet, **pace())
        decided = [_decide(config, world) for world in verdicts]
        content = summary.summarise(decided)
        said = summary.render(content)
        formats.write_json(config.out / RESULTS, content)
        formats.write_text(config.out / TEXT, said)
        plots.save_worlds(config.out / PLOT, _panels(decided), "Worlds of known truth: the verdicts, and raw MINT")
    return f"{said}\nWritten: {config.out / RESULTS}, {TEXT}, {PLOT}"


def _committed() -> list[World]:
    found = sorted(World.parse(path.stem) for path in options.QUICK.glob("*.parquet"))
    if not found:
        raise InputError(f"Expected the scores of worlds in {options.QUICK}, received none: run it in the repository.")
    return found


def _scores(config: ValidateAuditor, world: World) -> Path:
    folder = options.QUICK if config.quick else config.out / "scores"
    return folder / f"{world.name}.parquet"


def _plan(config: ValidateAuditor, chosen: Sequence[World]) -> str:
    if config.quick:
        seconds = _SECONDS_OF_VERDICT * len(chosen)
        return f"{len(chosen)} worlds from the scores in {options.QUICK}; about {seconds} seconds of a core."
    numbers = range(1, config.num_models + 1)
    missing = [n for n in numbers if not (models.folder(config, n) / formats.VERIFICATION).is_file()]
    networks = sum(2 + config.num_untrained - models.num_looked(config, n) for n in numbers)
    unscored = [world for world in chosen if not _scores(config, world).is_file()]
    costs = {"model": len(missing), "network": networks, "world": len(unscored)}
    minutes = sum(_SECONDS[name] * num for name, num in costs.items()) / 60
    return (
        f"{len(chosen)} worlds of {config.num_models} audited models. To be made: {len(missing)} models, {networks} "
        f"looks of a network at a model's people, {len(unscored)} worlds; about {minutes:.0f} minutes of a core."
    )


def _make(config: ValidateAuditor, chosen: Sequence[World]) -> None:
    missing = [world for world in chosen if not _scores(config, world).is_file()]
    if not missing:
        return
    numbers = range(1, config.num_models + 1)
    for number in tqdm(numbers, desc="audited models", unit="model", disable=config.quiet, **pace()):
        models.train(config, number)
    with tqdm(total=len(missing), desc="worlds", unit="world", disable=config.quiet, **pace()) as bar:
        for number in dict.fromkeys(world.model for world in missing):
            seen = models.look(config, number)
            for world in [world for world in missing if world.model == number]:
                score_files.write_scores(_scores(config, world), scoring.score(config, world, seen))
                bar.update()


def _decide(config: ValidateAuditor, world: World) -> Decided:
    path = config.out / "verdicts" / f"{world.name}.json"
    if not path.is_file():
        formats.write_json(
            path, dataclasses.asdict(deciding.decide(world, score_files.read_scores(_scores(config, world))))
        )
    return deciding.from_json(formats.read_json(path))


def _panels(decided: Sequence[Decided]) -> dict[str, list[plots.World]]:
    panels = {}
    for kind in worlds.KINDS:
        of_kind = summary.of_kind(decided, kind)
        if of_kind:
            panels[kind] = [_drawn(one) for one in of_kind]
    return panels


def _drawn(one: Decided) -> plots.World:
    auc = one.reference[str(deciding.PHOTO)]
    raw = one.raw[figures.AUC].value
    return plots.World(one.outcome, (auc.value, auc.low, auc.high), raw, one.is_accused_naively(figures.AUC))
