"""Find the face in every photo, align it to the ArcFace template, and write crops of 112x112 with a sample table.

Photos without a usable face are counted by database and listed in rejected.csv. A killed run continues with the same
command, and ends with the same bytes.

Example:
    python scripts/prepare_faces.py --input holiday-photos --detector scrfd_10g_bnkps.onnx --out faces/holiday
    python scripts/prepare_faces.py --input faces/ms1mv3 --treatment stored --out faces/ms1mv3-stored
"""

import sys

from _cli import run

from mint_keras.stages.prepare_faces import PrepareFaces, prepare_faces

if __name__ == "__main__":
    sys.exit(run(PrepareFaces, prepare_faces))
