"""The Python door: what `import mint_keras` offers. Everything here works in memory and writes nothing."""

from mint_keras import environment

environment.import_tensorflow()
