"""Convert a face-recognition model to Keras, proven tap by tap against ONNX Runtime; above tolerance nothing is saved.

Takes ONNX files, arcface_torch checkpoints (backbone.pth, model.pt) and folders in insightface's layout. The model
that is saved gives every tap by name: conv1 ... (last convolution of each stage), stage1 ... (after the residual sum),
outcome (the embedding). SCRFD face detectors are converted too.

Example:
    python scripts/convert_fr.py --weights backbone.pth --card fr1 --out models/fr1
    python scripts/convert_fr.py --weights w600k_r50.onnx --list-taps
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.convert_fr import ConvertFr, convert_fr

if __name__ == "__main__":
    sys.exit(run(ConvertFr, convert_fr))
