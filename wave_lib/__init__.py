"""Wave: runs coding agents against a repository in bounded, numbered work packages called waves."""

__version__ = "0.1.0"
