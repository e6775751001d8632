"""What does this machine's GPU give? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.gpu_check", False, sys.argv[1:], "gpu_check.py"))
