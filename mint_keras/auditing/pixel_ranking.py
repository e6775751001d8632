"""Which way of scaling pixels a model was trained with, as far as some pairs of faces can tell."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mint_keras import vectors
from mint_keras.audited import conventions, embedding
from mint_keras.audited.cards import Preprocessing
from mint_keras.audited.embedding import Embed, Embedder
from mint_keras.data.pairs import Pairs
from mint_keras.statistics import conventions as ranking


def rank(model: Embedder, table: Pairs, num_ranked: int, seed: int = 1) -> dict[str, Any]:
    """Shows a model some pairs in all conventions.

    Args:
        model: An audited model, or the file that it came from.
        table: Pairs of faces.
        num_ranked: Pairs of each kind to look at, at most; 0 for none.
        seed: Seed of the intervals.

    Returns:
        `by`, what was compared; `built`, the convention that the model was built for; `ranking`, a list of
        `statistics.conventions.Ranked`, the best first; `is_right`, whether the built one is better than all others by
        more than chance; `is_wrong`, whether another is better than it by more than chance.
    """
    ways = conventions.candidates(model.pixels)
    built = next(iter(ways))
    if model.is_whole:
        pixels = np.array([[0.0] * 3, [255.0] * 3])
        seen_as = {name: conventions.shown(pixels, wanted, model.pixels) for name, wanted in ways.items()}
        ways = {name: ways[name] for name, x in seen_as.items() if x.min() > -0.5 and x.max() < 255.5}
    if not num_ranked:
        return {"by": "nothing", "built": built, "ranking": [], "is_right": False, "is_wrong": False}
    kinds = [np.flatnonzero(table.genuine == kind) for kind in (True, False)]
    # Spread over the file, which may be sorted by person.
    parts = [kind[np.linspace(0, len(kind) - 1, min(len(kind), num_ranked)).astype(int)] for kind in kinds]
    rows = np.concatenate(parts)
    ends = np.concatenate([table.first[rows], table.second[rows]])
    used, places = np.unique(ends, return_inverse=True)
    faces = [table.images[i] for i in used]
    run = model.moments[0] if model.moments is not None else model.embed
    seen = {
        name: embedding.embed_all(functools.partial(_seen, run, wanted, model.pixels), faces, False, model.framing)
        for name, wanted in ways.items()
    }
    if model.moments is not None:
        found = ranking.by_moments(seen, model.moments[1], seed)
        by = f"how far {len(used)} faces are from what its first batch normalisation saw in training (divergence)"
    else:
        pairs = places.reshape(2, -1)
        cosines = {name: vectors.cosines(all_[pairs[0]], all_[pairs[1]]) for name, all_ in seen.items()}
        found = ranking.by_margin(cosines, table.genuine[rows], seed)
        by = f"how far apart {len(rows)} pairs of one person and of two are (d')"
    own = next(one for one in found if one.name == built)
    is_right = found[0] is own and ranking.told(found)
    listed = [dataclasses.asdict(one) for one in found]
    return {"by": by, "built": built, "ranking": listed, "is_right": is_right, "is_wrong": own.behind_low > 0}


def _seen(run: Embed, wanted: Preprocessing, built: Preprocessing, faces: np.ndarray) -> np.ndarray:
    return run(conventions.shown(faces, wanted, built))


def describe(ranked: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a ranking, and what it says."""
    if not ranked["ranking"]:
        return ["Pixels: nothing was compared (--num-ranked)."]
    best, built = ranked["ranking"][0]["name"], ranked["built"]
    tied = [one["name"] for one in ranked["ranking"][1:] if one["behind_low"] <= 0]
    if ranked["is_right"]:
        said = f"{built}, as the model takes them, is the right one"
    elif ranked["is_wrong"]:
        said = f'{built}, as the model takes them, is wrong: {best} does better. Convert again with --pixels "{best}"'
    else:
        said = f"cannot tell {best} from {', '.join(tied)}; the model takes {built}, which nothing here verifies"
    lines = [f"Ways of showing it its pixels by {ranked['by']}, with 99% intervals, and how far behind the best:"]
    for one in ranked["ranking"]:
        behind = f"{one['behind']:.3f} [{one['behind_low']:.3f}, {one['behind_high']:.3f}]"
        lines.append(f"  {one['name']:14} {one['value']:8.3f} [{one['low']:.3f}, {one['high']:.3f}]  {behind}")
    return [*lines, f"Pixels: {said}."]
