"""What is in a database? Its layout, images and identities, sizes, what cannot be read, and a sheet to look at.

The layout is recognised: RecordIO, IJB-C, FDDB, Adience, CelebA, UTKFace, LFW, GANDiffFace, insightface's verification
sets, CIFAR-100, Tiny-ImageNet, COCO, Caltech, prepared tensorflow_datasets, any folder of photos, or a table of your
own. Counts are compared with those published.

Example:
    python scripts/inspect_database.py faces/ms1mv3
    python scripts/inspect_database.py adience=downloads/aligned photos --num-read 0 --out runs/sheet
"""

import sys

from _cli import run

from mint_keras.stages.inspect_database import InspectDatabase, inspect_database

if __name__ == "__main__":
    sys.exit(run(InspectDatabase, inspect_database))
