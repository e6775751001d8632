"""Where are the faces in these photos? The same as `mint prepare`; --help says more."""

import sys

import _clone  # noqa: F401 # finds the package

from mint_keras import cli

# Its worker processes load this file again, and must not start the command anew.
if __name__ == "__main__":
    sys.exit(cli.script(__file__))
