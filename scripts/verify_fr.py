"""How well does a model recognise faces? The same as `mint verify`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
