"""What does MINT+ find on audited models that are trained for it? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.measure_plus", True, sys.argv[1:], "measure_plus.py"))
