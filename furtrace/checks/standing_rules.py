"""The rules that the state of a connection alone can prove to be broken; events can prove most of them too."""

from typing import Final

from furtrace.checks.findings import Rule, Severity

NOT_READY: Final = Rule(
    "ring-not-ready",
    Severity.ERROR,
    "the ring does not get ready, and the mount hangs",
    "The server's reply to INIT said FUSE_OVER_IO_URING. From then on the kernel holds every request back until each "
    "queue, one a possible CPU, has an entry that is registered (is_ring_ready() in fs/fuse/dev_uring.c). Some queue "
    "has none.",
    "REGISTER at least one entry for each possible CPU (/sys/devices/system/cpu/possible), not only for those that "
    "are online; or leave FUSE_OVER_IO_URING out of the reply to INIT.",
)
ENTRIES_GONE: Final = Rule(
    "entries-gone",
    Severity.ERROR,
    "a queue has lost entries, as when the thread that registered them has ended",
    "The kernel brings a request to an entry in the thread that submitted the entry's command "
    "(fuse_uring_send_in_task() in fs/fuse/dev_uring.c). When that thread has ended it can't; and when the thread's "
    "io_uring is closed, the commands of its idle entries are cancelled (fuse_uring_cancel()): the entries are in the "
    "server's hands without a request, or gone from Linux 7.3 on. As long as the connection lives nothing brings them "
    "back, and no other queue takes their requests: whoever runs on that queue's CPU waits. furtrace inspect finds it "
    "in the state of the connection.",
    "See which of the server's threads are left: ls /proc/PID/task, and why the queue's thread ended: its log, a "
    "signal, an exception. Only the end of the mount helps its clients: umount -f, or echo 1 > "
    "/sys/fs/fuse/connections/N/abort.",
)
QUEUE_STOPPED: Final = Rule(
    "queue-stopped",
    Severity.ERROR,
    "a queue is stopped, and requests wait in it",
    "A queue is stopped as its connection is aborted, and all its requests are ended then "
    "(fuse_uring_abort_end_requests() in fs/fuse/dev_uring.c). Nobody ends those that are left. furtrace inspect finds "
    "it in the state of the connection.",
    "It is the kernel's fault, not the server's: keep furtrace inspect --json and the kernel's log, and report both to "
    "linux-fsdevel.",
)
UNANSWERED: Final = Rule(
    "unanswered",
    Severity.WARNING,
    "the server has a request and does not answer it",
    "The request was delivered, and no commit or reply followed. Its client waits until there is one, in the state D "
    "once the server has it, and so does whoever wants the same inode's locks; its entry serves nothing else "
    "meanwhile.",
    "See what the server's thread does: cat /proc/TID/stack, gdb -p PID. A worker that died, an answer that was "
    "dropped on an error path, a lock that two threads take in turn.",
)
NO_ENTRY: Final = Rule(
    "no-entry",
    Severity.WARNING,
    "a request waits because every entry of its queue is taken",
    "Each request needs an entry while it is under way, and takes one of the queue of the CPU that its client runs "
    "on. All of that queue's are in the server's hands (fuse_uring_queue_fuse_req() in fs/fuse/dev_uring.c).",
    "Answer faster, or register more entries a queue. If they are never given back, see the rule unanswered.",
)
NO_BUFFER: Final = Rule(
    "no-buffer",
    Severity.WARNING,
    "a request waits because the pool has no free buffer",
    "A queue's buffers are taken by requests with payload and given back when these are committed. None is free "
    "(fuse_uring_select_buffer() in fs/fuse/dev_uring.c); idle entries do not help.",
    "Give the queue a larger pool, or answer faster. If buffers are never given back, see the rule unanswered.",
)
NOT_FETCHED: Final = Rule(
    "not-fetched",
    Severity.WARNING,
    "a request waits in the kernel, and nobody fetches it",
    "The request is queued, and the server does not fetch it: it does not read /dev/fuse, or its ring's thread does "
    "not wait for completions.",
    "See what the server's threads do: cat /proc/TID/stack. Stopped, out of memory, blocked on its own mount?",
)
RULES = (NOT_READY, ENTRIES_GONE, QUEUE_STOPPED, UNANSWERED, NO_ENTRY, NO_BUFFER, NOT_FETCHED)
