"""Face verification with a converted model, or with the file it came from: is the converted model the model?

Prints accuracy (threshold chosen on the other folds), AUC, and the true-accept rate at false-accept rates. Run it on
both and compare; a checkpoint (.pth) counts as verified only after this.

Example:
    python scripts/verify_fr.py --model models/fr1 --pairs lfw.bin
    python scripts/verify_fr.py --onnx w600k_r50.onnx --pairs pairs.txt --images lfw-aligned
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.verify_fr import VerifyFr, verify_fr

if __name__ == "__main__":
    sys.exit(run(VerifyFr, verify_fr))
