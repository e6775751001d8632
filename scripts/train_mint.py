r"""Train MINT heads: was this face used to train that model?

Draws members and externals, extracts what the audited model's taps give for them, trains a head per tap and for the
combination, and evaluates them with model.evaluate. The table has three columns of controls beside the paper's
number. With no more than --head and --out it runs on the lab model of this repository.

Examples:
    python scripts/train_mint.py --head vanilla --out runs/lab-vanilla
    python scripts/train_mint.py --head vanilla --audited runs/lfw-audited --externals utkface --evaluate generated \
        --out runs/lfw-vanilla
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.mint_options import TrainMint
    from mint_keras.stages.train_mint import train_mint

if __name__ == "__main__":
    sys.exit(run(TrainMint, train_mint))
