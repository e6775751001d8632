"""Find photos that occur twice, in one database or in two: no external may be among the members.

By identical pixels, by perceptual hash (also mirrored), and, with --audited, by the embeddings of a face-recognition
model. Altered copies are planted to measure what the search misses.

Example:
    python scripts/find_overlap.py --samples faces/ms1mv3 faces/ijbc --audited models/fr1 --out runs/overlap
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.find_overlap import FindOverlap, find_overlap

if __name__ == "__main__":
    sys.exit(run(FindOverlap, find_overlap))
