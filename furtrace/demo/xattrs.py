"""Extended attributes of a node, with the errors of setxattr(2), getxattr(2) and removexattr(2)."""

import errno

from furtrace.demo.errors import TreeError

CREATE = 1
REPLACE = 2
MAX_NAME = 255
MAX_VALUE = 65536
_ACL = b"system.posix_acl_"


def put(xattrs: dict[bytes, bytes], name: bytes, value: bytes, flags: int) -> None:
    """Set one attribute; ``flags`` 0, ``CREATE`` (refused with EEXIST) or ``REPLACE`` (refused with ENODATA).

    ``TreeError(EOPNOTSUPP)`` for POSIX ACLs, which this file system does not evaluate and so must not accept.
    """
    if name.startswith(_ACL):
        raise TreeError(errno.EOPNOTSUPP)
    if len(name) > MAX_NAME:
        raise TreeError(errno.ERANGE)
    if len(value) > MAX_VALUE:
        raise TreeError(errno.E2BIG)
    if flags & CREATE and name in xattrs:
        raise TreeError(errno.EEXIST)
    if flags & REPLACE and name not in xattrs:
        raise TreeError(errno.ENODATA)
    xattrs[name] = value


def get(xattrs: dict[bytes, bytes], name: bytes) -> bytes:
    """Return an attribute's value; ``TreeError(ENODATA)`` when there is none."""
    try:
        return xattrs[name]
    except KeyError:
        raise TreeError(errno.ENODATA) from None


def names(xattrs: dict[bytes, bytes]) -> bytes:
    """Return all names, each with its NUL, as listxattr(2) does."""
    return b"".join([name + b"\0" for name in xattrs])


def remove(xattrs: dict[bytes, bytes], name: bytes) -> None:
    """Remove an attribute; ``TreeError(ENODATA)`` when there is none."""
    if xattrs.pop(name, None) is None:
        raise TreeError(errno.ENODATA)
