"""Train MINT heads: was this face used to train that model? The same as `mint train`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
