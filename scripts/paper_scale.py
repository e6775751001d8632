"""What do the steps of the paper take at its sizes? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.paper_scale", False, sys.argv[1:], "paper_scale.py"))
