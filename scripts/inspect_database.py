"""Draw a sheet of faces of some databases, and count their images and identities.

Example:
    python scripts/inspect_database.py synthetic:1/web/0-11/1 synthetic:1/cctv/0-11/1 --out runs/sheet
"""

import sys

from _cli import run

from mint_keras.stages.inspect_database import InspectDatabase, inspect_database

if __name__ == "__main__":
    sys.exit(run(InspectDatabase, inspect_database))
