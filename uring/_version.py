"""The one place where the version stands; the build compiles it into the extension."""

__version__ = "0.1.0"
