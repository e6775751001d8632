"""Which model's members are known? One that you train. The same as `mint train-audited`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
