"""Make the face network that audits compare looks with, models/dlib. A study; --help says more."""

import sys

import _clone  # noqa: F401 # finds the packages

from mint_keras import cli

sys.exit(cli.run("studies.make_look", True, sys.argv[1:], "make_look.py"))
