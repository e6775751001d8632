"""Scripts run from a clone, without installing the package; each is the command of its own name, see `mint --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
