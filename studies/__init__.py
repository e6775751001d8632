"""Studies of the method: is the auditor right, what does MINT+ find, do intervals cover, how fast is all of it?

They are no part of the package: they import `mint_keras` as any user would, and run from a clone. Each study is shaped
like a command (see `mint_keras.commands`), and a script of its name runs it.
"""

import mint_keras  # noqa: F401 # tells ONNX Runtime and others to keep quiet, before any study imports them
