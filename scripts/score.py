"""Score photos with a bundle, offline and without TensorFlow (pip install -r requirements-edge.txt).

Example:
    python scripts/score.py --bundle export/lab export/lab/samples --out runs/scores
    python scripts/score.py --bundle export/lab --serve

Exit codes:
    0    every photo was scored
    1    some photos, or the bundle, could not be used; the others were scored, and rejected.csv lists these
    2    wrong usage
    3    refused: the bundle was changed, or --out holds something else
    130  interrupted; with --out the same command continues
"""

import sys

from _cli import run

from mint_keras.edge.scoring import Score, score
from mint_keras.records import InputError


def score_or_serve(config: Score) -> str:
    """Scores photos, or serves the page."""
    if not config.serve:
        return score(config)
    try:
        from mint_keras.edge import page
    except ModuleNotFoundError as error:
        raise InputError("Expected Starlette and uvicorn for --serve: pip install -r requirements-serve.txt") from error
    return page.serve(config)


if __name__ == "__main__":
    sys.exit(run(Score, score_or_serve))
