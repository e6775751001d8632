"""Stage: is it membership? References, controls and the verdict on a finished run of train_mint.py."""

from __future__ import annotations

from mint_keras import formats
from mint_keras.stages import mint_run
from mint_keras.stages.audit import measure, photos, text
from mint_keras.stages.audit.opened import Audit, open_audit

KIND = "audit"


def audit(config: Audit) -> str:
    """Measures a run's best scorer and MINT+ against every control, and decides on each by the rule.

    Raises:
        InputError: if the run cannot be used.
        RefusedError: if it, or what it was made from, has changed.
    """
    run = mint_run.reopen_run(config.run, config.quiet)
    inputs = {
        "run": formats.sha256_file(config.run / formats.SCORES),
        **{f"foreign {folder}": formats.sha256_file(folder / formats.MODEL) for folder in config.foreign},
    }
    settings = {"num_untrained": config.num_untrained, "prevalence": config.prevalence, "seed": config.seed}
    with formats.output_folder(config.out, formats.make_manifest(KIND, inputs, settings), config.overwrite):
        opened = open_audit(config, run)
        results = text.Results(
            measure.decide(opened), photos.power_curve(opened), photos.accusations(opened), not_measured=()
        )
        said = text.write(results, config.out)
    return f"{said}\nWritten: {config.out / text.REPORT}, {text.AUDIT}, {text.VERDICT}, {text.FINDINGS}.png"
