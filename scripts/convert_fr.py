"""Is this the model it claims to be, in Keras? The same as `mint convert`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
