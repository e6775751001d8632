"""Rank attacks on members and others who are known. The same as `mint attacks`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

sys.exit(cli.script(__file__))
