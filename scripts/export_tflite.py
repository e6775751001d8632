"""Export one head of a run as a bundle for a laptop. The same as `mint export`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
