"""How many cnn heads die in training? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.dead_heads", False, sys.argv[1:], "dead_heads.py"))
