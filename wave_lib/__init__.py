"""Wave: runs coding agents against a repository in bounded, numbered work packages called waves."""

PACKAGE_NAME = "wave-for-python"
__version__ = "0.1.0"
