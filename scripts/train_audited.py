"""Train a small face-recognition model whose training set is known: the lab of an audit.

Half of the identities (--split-identities) are trained on; the others are held out, for the verification ROC and as
same-database externals of an audit. Run the same command again to continue an interrupted training.

Example:
    python scripts/train_audited.py --data lfw/train.rec --out runs/lfw-audited --epochs 20
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.train_audited import TrainAudited, train_audited

if __name__ == "__main__":
    sys.exit(run(TrainAudited, train_audited))
