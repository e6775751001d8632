"""Stage: is it membership? References, controls and the verdict on a finished run of train_mint.py."""

from __future__ import annotations

from typing import Any

from mint_keras import formats
from mint_keras.data import samples
from mint_keras.records import InputError
from mint_keras.stages import mint_run
from mint_keras.stages.audit import measure, photos, plus, robustness, text
from mint_keras.stages.audit.opened import Audit, open_audit

KIND = "audit"


def audit(config: Audit) -> str:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    run = mint_run.reopen_run(config.run, config.quiet)
    with formats.output_folder(config.out, manifest(config), config.overwrite):
        opened = open_audit(config, run)
        tasks = plus.plan(opened)
        verdicts, not_measured = measure.decide(opened, tasks)
        changed, missing = robustness.measure(opened, tasks)
        curves, accusations = photos.power_curves(opened, tasks), photos.accusations(opened)
        results = text.Results(verdicts, curves, accusations, changed, [*not_measured, *missing])
        said = text.write(results, config.out)
    return f"{said}\nWritten: {config.out / text.REPORT}, {text.AUDIT}, {text.VERDICT}, {text.FINDINGS}.png"


def manifest(config: Audit) -> dict[str, Any]:
    """Returns the manifest of an audit.

    Raises:
        InputError: if two foreign models have one name, or something that was named is not there.
    """
    names = [folder.name for folder in config.foreign]
    if len(set(names)) < len(names):
        raise InputError(f"Expected foreign models in folders of different names, received {names}.")
    folders = {f"foreign {folder.name}": folder for folder in config.foreign}
    if config.swap is not None:
        folders["swap"] = config.swap
    inputs = {"run": formats.sha256_file(config.run / formats.SCORES)}
    inputs |= {name: formats.sha256_file(folder / formats.MODEL) for name, folder in folders.items()}
    sources = {"unseen photos": (config.unseen_photos,) if config.unseen_photos else (), "nulls": config.nulls}
    for name, given in sources.items():
        if given:
            inputs[name] = samples.fingerprint(samples.list_all(given))
    settings = {name: getattr(config, name) for name in ("robustness", "num_untrained", "prevalence", "seed")}
    return formats.make_manifest(KIND, inputs, settings)
