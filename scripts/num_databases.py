"""How many databases must heads see? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.num_databases", False, sys.argv[1:], "num_databases.py"))
