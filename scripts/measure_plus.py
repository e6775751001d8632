r"""Measure MINT+ on audited models that are trained for it: by photo, by person, by truth, with an ablation.

Half of each world's people were trained on. A calibration half of all of them fits the scorer, the others are reported
on. These models have memorised their members: --epochs, --photos and --flips say how the numbers fall where they have
not. An interrupted command continues.

Examples:
    python scripts/measure_plus.py --config scripts/configs/measure_plus.yaml --out runs/goal
    python scripts/measure_plus.py --audited models/lab2 models/lab3 --reference models/lab --out runs/plus-lab
    python scripts/measure_plus.py --arch mini --resolution 48 --epochs 5 --out runs/goal-mini-5
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.measure_plus import MeasurePlus, measure_plus

if __name__ == "__main__":
    sys.exit(run(MeasurePlus, measure_plus))
