"""Score photos with a bundle. The same as `mint score`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
