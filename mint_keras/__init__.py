"""mint_keras: was this face photo used to train that face-recognition model?"""

__version__ = "0.1.0"
