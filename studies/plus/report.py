"""The content of mint_plus.json as Markdown tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from mint_keras.report import tables
from mint_keras.scorers.baselines import EMBEDDING_NORM
from mint_keras.statistics.intervals import Estimate
from studies.plus.measures import MEASURES


def render(content: dict[str, Any]) -> str:
    """Returns the tables: by measure, by number of photos, and by set of ingredients if these were tried."""
    rows = [["truth", "what is asked", "MINT+: AUC, mean of worlds", "each world", "embedding norm"]]
    for measure in MEASURES:
        ours, norm = content["mint_plus"][measure.name], content[EMBEDDING_NORM][measure.name]
        each = " ".join(f"{auc:.3f}" for auc in content["by_world"][measure.name])
        rows.append([measure.truth, measure.meaning, str(Estimate(**ours)), each, str(Estimate(**norm))])
    found = content["several_photos"]
    used, some = (np.mean(found[name], axis=0) for name in ("used", "some_used"))
    counts = [["photos", "of so many, all used: AUC over people", f"of {len(used)}, so many used: AUC over people"]]
    shown = ["", *(f"{auc:.3f}" for auc in used)]
    counts += [[str(num), shown[num], f"{auc:.3f}"] for num, auc in enumerate(some)]
    lines = [tables.format_table(rows), "", tables.format_table(counts), ""]
    if ablation := content["ablation"]:
        labels = dict.fromkeys(label for sets in ablation.values() for label in sets)
        rows = [["ingredients: AUC, mean of worlds", *(name.replace("_", " ") for name in ablation)]]
        # In the order of default, only, with, without.
        for label in sorted(labels, key=lambda label: label.split()[0]):
            cells = [f"{np.mean(sets[label]):.3f}" if label in sets else "-" for sets in ablation.values()]
            rows.append([label, *cells])
        lines += [tables.format_table(rows), ""]
    return "\n".join(lines)
