"""mint_keras: was this face photo used to train that face-recognition model?"""

from mint_keras import environment

__version__ = "0.2.0"

environment.prepare()
