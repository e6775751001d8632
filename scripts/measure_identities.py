"""Is one person found under two names? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.measure_identities", True, sys.argv[1:], "measure_identities.py"))
