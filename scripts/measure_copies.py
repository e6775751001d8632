"""Which altered copies of photos are found? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.measure_copies", False, sys.argv[1:], "measure_copies.py"))
