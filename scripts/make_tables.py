"""Make the paper's tables and Figure 5. The same as `mint tables`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
