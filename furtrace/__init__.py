"""furtrace: protocol tracer and inspector for FUSE over io_uring."""

__version__ = "0.1.0"
