"""Say whether a run is evidence of training use. The same as `mint audit`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
