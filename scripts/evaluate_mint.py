"""Evaluate the heads of an earlier run again by model.evaluate, and insist on the same numbers.

Example:
    python scripts/evaluate_mint.py --run runs/lab-vanilla --out runs/lab-vanilla-again
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.evaluate_mint import EvaluateMint, evaluate_mint

if __name__ == "__main__":
    sys.exit(run(EvaluateMint, evaluate_mint))
