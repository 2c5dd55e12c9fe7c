/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The event record: what every probe writes to the ring buffer, one fixed size for all kinds.
 *
 * It is laid out here, once. furtrace/trace/record.py says the same to numpy, and a test asks the C compiler
 * whether the two agree. The integers are the kernel's u8..u64 and s32; whoever includes this defines them.
 * A member that a kind does not use is 0; where 0 could be a value, `flags` or a length says whether it is one. Past
 * `header_size` and `extra_size`, header[] and extra[] hold whatever the ring buffer held.
 */
#ifndef FURTRACE_RECORD_H
#define FURTRACE_RECORD_H

#define FT_HEADER_SIZE 288   /* struct fuse_uring_req_header, include/uapi/linux/fuse.h */
#define FT_COMMAND_SIZE 80   /* the command area of a 128-byte SQE */
#define FT_EXTRA_SIZE 192
#define FT_PART_SIZE (FT_HEADER_SIZE + FT_EXTRA_SIZE)
#define FT_ARGUMENT 64
#define FT_ARGUMENT_SIZE 16
#define FT_NO_QUEUE 0xffffffffu
#define FT_NO_BUFFER 0xffffffffu

enum ft_kind {
	FT_INIT = 1,
	FT_ADD_QUEUE,
	FT_ADD_BUFPOOL,
	FT_REGISTER,
	FT_READY,
	FT_QUEUED,
	FT_SELECTED,
	FT_PAGES_REGISTERED,
	FT_COPIED,
	FT_DELIVERED,
	FT_FIXED_IO,
	FT_COMMITTED,
	FT_RETURNED,
	FT_PAGES_UNREGISTERED,
	FT_PAGES_RELEASED,
	FT_RECYCLED,
	FT_ENDED,
	FT_REFUSED,
	FT_STOPPED,
	FT_LOST,
	/*
	 * Hints, no events: what names and numbers of inodes a filter would have hidden, and the entries of directories.
	 * They are written whatever the filters say, so that paths stay true.
	 */
	FT_NAMED,         /* as ENDED, of a request that a filter hides */
	FT_ENTRIES,       /* a part of a reply to READDIRPLUS, as it lay in the server's payload buffer */
};

enum ft_transport {
	FT_UNKNOWN = 0,   /* the kernel has not chosen yet */
	FT_URING,
	FT_DEV,           /* read(2) and write(2) of /dev/fuse */
};

enum ft_flag {
	FT_CURRENT_IS_CLIENT = 1 << 0,    /* pid, tid and comm are the client's */
	FT_BACKGROUND = 1 << 1,           /* FR_BACKGROUND */
	FT_ZERO_COPIED = 1 << 2,          /* fuse_ring_ent.zero_copied */
	FT_CQE_OVERFLOW = 1 << 3,         /* the CQE found no room in the completion queue */
	FT_HEADER_FROM_SERVER = 1 << 4,   /* header[] was read from the server's memory */
	FT_NAME_CUT = 1 << 5,             /* a name was longer than its place in extra[] */
	FT_HAS_BUFFER = 1 << 6,           /* buffer_id and pool_offset are meant */
	FT_HAS_ERROR = 1 << 7,            /* error is meant */
};

struct ft_record {
	u64 ns;             /* CLOCK_MONOTONIC */
	u64 unique;         /* fuse_in_header.unique; 0: no request */
	u64 commit_id;      /* from the command area, or as told to the server */
	u64 node_id;
	u64 entry;          /* address of the fuse_ring_ent: an identity, never followed */
	u64 headers;        /* the entry's header slot in the server's memory */
	u64 payload;        /* its payload buffer there; 0: none */
	u64 command;        /* address of the io_kiocb: which command this is about */
	u64 user_data;      /* of the SQE and its CQE */
	u32 connection;     /* fuse_conn.dev, the name under /sys/fs/fuse/connections */
	u32 opcode;
	s32 error;          /* 0 or a negative errno: the reply's, or the result of a command */
	u32 queue;          /* FT_NO_QUEUE: none or not known */
	u32 pid;            /* of the current task: thread group, thread */
	u32 tid;
	u32 client_tid;     /* fuse_in_header.pid: the client's thread in the server's pid namespace */
	u32 command_op;     /* enum fuse_uring_cmd */
	u32 buffer_id;      /* FT_NO_BUFFER: the queue has a pool, and the entry holds none of its buffers */
	u32 pool_offset;
	u32 payload_size;   /* of the buffer, bytes */
	u32 length;         /* fuse_in_header.len or fuse_out_header.len */
	u8 kind;            /* enum ft_kind */
	u8 transport;       /* enum ft_transport */
	u8 flags;           /* enum ft_flag */
	u8 second;          /* where the second name starts in extra[]; 0: there is none */
	u16 header_size;    /* valid bytes in header[] */
	u16 extra_size;     /* valid bytes in extra[] */
	u16 cpu;
	u16 slot;           /* the entry's registered-buffer index for zero-copy; of an SQE its buf_index */
	u32 request_flags;  /* fuse_req.flags, the kernel's FR_* */
	char comm[16];
	/*
	 * At DELIVERED and COMMITTED the fuse_uring_req_header as it lay in the server's memory. At QUEUED and ENDED
	 * the kernel's own copy in the same layout: fuse_in_header or fuse_out_header at 0, the operation's first
	 * argument at 128, nothing at 256. At ENDED of an operation about names, the request's first argument at 64
	 * (struct fuse_rename2_in, ...), FT_ARGUMENT_SIZE bytes of it.
	 *
	 * At ENTRIES header[] and extra[] are one array of FT_PART_SIZE bytes: the payload from `length` on, of which
	 * payload_size is the whole; header_size bytes of it are valid.
	 */
	u8 header[FT_HEADER_SIZE];
	/*
	 * Commands: the command area. QUEUED, and ENDED of an operation about names: the names, each ended by NUL. INIT:
	 * 64 bytes of fuse_init_in, then 64 of fuse_init_out.
	 */
	u8 extra[FT_EXTRA_SIZE];
};

#endif
