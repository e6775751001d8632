"""Score faces with a bundle, offline and without TensorFlow (pip install -r requirements-edge.txt).

Example:
    python scripts/score.py --bundle export/lab export/lab/samples --out runs/scores
"""

import sys

from _cli import run

from mint_keras.edge.scorer import Score, score

if __name__ == "__main__":
    sys.exit(run(Score, score))
