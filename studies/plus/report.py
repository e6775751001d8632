"""The content of mint_plus.json as Markdown tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from mint_keras.report import tables
from mint_keras.scorers.baselines import EMBEDDING_NORM
from studies.plus.measures import MEASURES


def render(content: dict[str, Any]) -> str:
    """Returns the tables: by measure, by number of photos, and by set of ingredients if these were tried."""
    rows = [["truth", "what is asked", "MINT+: AUC, mean of worlds", "each world", "embedding norm"]]
    for measure in MEASURES:
        ours, norm = content["mint_plus"][measure.name], content[EMBEDDING_NORM][measure.name]
        each = " ".join(f"{auc:.3f}" for auc in content["by_world"][measure.name])
        rows.append([measure.truth, measure.meaning, tables.interval(ours), each, tables.interval(norm)])
    lines = [tables.format_table(rows), "", _several_photos(content["several_photos"]), ""]
    if content["ablation"]:
        lines += [_ablation(content["ablation"]), ""]
    return "\n".join(lines)


def _several_photos(found: dict[str, list[list[float]]]) -> str:
    """Renders both curves as one table; means of the worlds."""
    used, some = (np.mean(found[name], axis=0) for name in ("used", "some_used"))
    rows = [["photos", "of so many, all used: AUC over people", f"of {len(used)}, so many used: AUC over people"]]
    shown = ["", *(f"{auc:.3f}" for auc in used)]
    rows += [[str(num), shown[num], f"{auc:.3f}"] for num, auc in enumerate(some)]
    return tables.format_table(rows)


def _ablation(found: dict[str, dict[str, list[float]]]) -> str:
    """Renders a row for each set of ingredients, a column for each measure; means of the worlds."""
    labels = dict.fromkeys(label for sets in found.values() for label in sets)
    rows = [["ingredients: AUC, mean of worlds", *(name.replace("_", " ") for name in found)]]
    for label in sorted(labels, key=lambda label: label.split()[0]):  # default, only, with, without
        cells = [f"{np.mean(sets[label]):.3f}" if label in sets else "-" for sets in found.values()]
        rows.append([label, *cells])
    return tables.format_table(rows)
