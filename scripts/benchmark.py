"""How fast is it here? A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

# The processes that prepare faces load this file again, and must not start the study anew.
if __name__ == "__main__":
    sys.exit(cli.run("studies.benchmark", True, sys.argv[1:], "benchmark.py"))
