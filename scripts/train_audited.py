r"""Train a face-recognition model, or a classifier of pictures, whose training set is known: the lab of an audit.

Of faces, half of the identities (--split-identities) are trained on; the others are held out, for the verification ROC
and as same-database externals of an audit. Of pictures (--task classification), the part train of a database is trained
on and its other parts are held out, for the accuracy and as the same externals. Run the same command again to continue
an interrupted training.

Examples:
    python scripts/train_audited.py --data lfw/train.rec --out runs/lfw-audited --epochs 20
    python scripts/train_audited.py --task classification --arch mobilenet --data cifar-100-python --resolution 32 \
        --epochs 1 --out runs/cifar-mobilenet
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.train_audited import TrainAudited, train_audited

if __name__ == "__main__":
    sys.exit(run(TrainAudited, train_audited))
