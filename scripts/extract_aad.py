"""What do the taps of an audited model give for these photos? Written to disk once, for many heads to train on.

A killed run continues with the same command and ends with the same bytes; so does one of many workers. --dry-run says
beforehand how many bytes and hours it takes.

Example:
    python scripts/extract_aad.py --audited models/lab --samples synthetic:1/web/0-399/10 --pooling max --out runs/aad
    python scripts/extract_aad.py --audited fr1 --num-samples 100000 --dry-run --out runs/plan
    python scripts/extract_aad.py --audited models/fr1 --samples faces/ms1mv3 --taps conv1 --out runs/fr1-conv1
    python scripts/extract_aad.py --verify --out runs/fr1-conv1
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.extract_aad import ExtractAad, extract_aad

if __name__ == "__main__":
    sys.exit(run(ExtractAad, extract_aad))
