"""How often do intervals contain the truth? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.measure_coverage", False, sys.argv[1:], "measure_coverage.py"))
