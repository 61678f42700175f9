"""The package's version, for those who may not pay for :mod:`importlib.metadata`."""

VERSION = "3.0.0"
