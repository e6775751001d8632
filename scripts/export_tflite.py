"""Export one head of a run, with the part of the audited model it needs, to a TFLite bundle for a laptop.

Whatever is exported is compared with Keras on held-out faces: logits, decisions, and what membership they show (AUC
and TPR at 1% FPR, with paired intervals). If the AUC may have dropped, nothing is written.

Example:
    python scripts/export_tflite.py --run runs/lab-vanilla --tap combination --out export/lab
    python scripts/export_tflite.py --run runs/lab-vanilla --sweep --out export/lab-sweep
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.export_tflite import ExportTflite, export_tflite

if __name__ == "__main__":
    sys.exit(run(ExportTflite, export_tflite))
