"""Audit a network that nobody here trained. A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.fer2013", True, sys.argv[1:], "fer2013.py"))
