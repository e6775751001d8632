"""How often does the auditor accuse wrongly, how often does it find? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.validate_auditor", True, sys.argv[1:], "validate_auditor.py"))
