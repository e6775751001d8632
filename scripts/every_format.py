"""Which networks work in which formats? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.every_format", False, sys.argv[1:], "every_format.py"))
