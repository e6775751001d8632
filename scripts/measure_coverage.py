r"""Measure how often 95% intervals contain the truth: simulated people, photos and scorers, whose truth is known.

The table of docs/method.md; three minutes of one core for each kind of evaluation. An interrupted command continues.

Examples:
    python scripts/measure_coverage.py --out runs/coverage
    python scripts/measure_coverage.py --people 20 --effects 1 0.5 --num-runs 500 --out runs/coverage-20
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.measure_coverage import MeasureCoverage, measure_coverage

if __name__ == "__main__":
    sys.exit(run(MeasureCoverage, measure_coverage))
