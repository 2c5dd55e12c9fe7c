"""How requests and their payload travel between the kernel and a demo server that has rings."""

from enum import StrEnum


class Mode(StrEnum):
    """What a queue's payload memory is. Every mode but ``PLAIN`` needs the buffer pools of Linux 7.3.

    Attributes:
        PLAIN: every entry has a payload buffer of its own (Linux 6.14 on).
        POOL: a queue's entries share a pool of buffers, which the kernel finds by its address.
        FIXED_POOL: the pool is a buffer registered with the io_uring instance, and commands name it by its index.
        ZERO_COPY: a pool by its address; and what is read from and written to files, except files made with a name
            that ends in ``.copy``, goes from the client's pages to the file and back without a copy in between.

    """

    PLAIN = "plain"
    POOL = "pool"
    FIXED_POOL = "fixed-pool"
    ZERO_COPY = "zero-copy"

    @property
    def pooled(self) -> bool:
        """Whether queues have buffer pools."""
        return self is not Mode.PLAIN
