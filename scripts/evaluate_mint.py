"""Evaluate the heads of a run again. The same as `mint evaluate`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
