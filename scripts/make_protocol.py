"""Who trains the heads, and who evaluates them? The same as `mint protocol`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
