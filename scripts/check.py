"""Say what verdicts are possible at all, before anything takes long. The same as `mint check`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
