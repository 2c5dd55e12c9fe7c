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
#define FT_NO_CPU 0xffffu

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

	FT_STEP,          /* an event again: the kernel went into a function, or came out of it; `step` says which */
	/* Hints again. */
	FT_MOUNTED,       /* written by whoever records, never by a probe: where a connection is mounted */
	FT_REQUEST_PAYLOAD,   /* a part of what the server got beside the headers, where that was asked for */
	FT_REPLY_PAYLOAD,     /* a part of what it answered */
};

/* Functions of the kernel that a STEP tells of. */
enum ft_step {
	FT_STEP_NONE = 0,
	FT_STEP_QUEUE_FUSE_REQ,       /* fuse_uring_queue_fuse_req() */
	FT_STEP_QUEUE_BQ_REQ,         /* fuse_uring_queue_bq_req() */
	FT_STEP_ADD_REQ_TO_RING_ENT,  /* fuse_uring_add_req_to_ring_ent(): the entry takes the request */
	FT_STEP_SEND_IN_TASK,         /* fuse_uring_send_in_task() */
	FT_STEP_PREPARE_SEND,         /* fuse_uring_prepare_send() */
	FT_STEP_COPY_HEADER_TO_RING,  /* copy_header_to_ring(), its result; `command_op` is which header: 0, 1, 2 */
	FT_STEP_SET_UP_ZERO_COPY,     /* fuse_uring_set_up_zero_copy(), its result */
	FT_STEP_SEND,                 /* fuse_uring_send() */
	FT_STEP_CMD_DONE,             /* __io_uring_cmd_done(), earlier io_uring_cmd_done(): `error` is what it is told */
	FT_STEP_CMD,                  /* fuse_uring_cmd(), its result */
	FT_STEP_COMMIT_FETCH,         /* fuse_uring_commit_fetch() */
	FT_STEP_COMMIT,               /* fuse_uring_commit() */
	FT_STEP_REQ_END,              /* fuse_uring_req_end(): `error` is what it is told */
	FT_STEP_GET_NEXT_FUSE_REQ,    /* fuse_uring_get_next_fuse_req(), fuse_uring_next_fuse_req() */
	FT_STEP_STOP_QUEUES,          /* fuse_uring_stop_queues() */
	FT_STEP_ABORT_END_REQUESTS,   /* fuse_uring_abort_end_requests() */
	FT_STEP_ENTRY_TEARDOWN,       /* fuse_uring_entry_teardown() */
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
	FT_POOL = 1 << 8,                 /* the queue takes payload buffers from a pool */
	FT_HAS_SLOT = 1 << 9,             /* slot is meant */
	FT_QUEUE_ZERO_COPY = 1 << 10,     /* fuse_ring_queue.zero_copy: made with FUSE_URING_ZERO_COPY */
	FT_FILE_ZERO_COPY = 1 << 11,      /* fuse_args.zero_copy: opened with FOPEN_IO_URING_ZERO_COPY */
	FT_HAS_PAGES = 1 << 12,           /* fuse_args.in_pages or out_pages: its data is in the client's pages */
	FT_PAGES_READABLE = 1 << 13,      /* the server may read the registered pages (IO_BUF_SOURCE): of a WRITE */
	FT_PAGES_WRITABLE = 1 << 14,      /* it may write them (IO_BUF_DEST): of a READ */
	FT_FIXED = 1 << 15,               /* the command has IORING_URING_CMD_FIXED: it names a registered buffer */
};

#define FT_NOT_COUNTED 0xffffffffu   /* buffers_free: the pool has too many to be counted here */

struct ft_record {
	u64 ns;             /* CLOCK_MONOTONIC */
	u64 unique;         /* fuse_in_header.unique; 0: no request */
	u64 commit_id;      /* from the command area, or as told to the server */
	u64 node_id;
	u64 entry;          /* address of the fuse_ring_ent: an identity, never followed */
	u64 headers;        /* the entry's header slot in the server's memory */
	u64 payload;        /* its payload buffer there; 0: none */
	u64 command;        /* address of the io_kiocb: which command this is about */
	u64 user_data;      /* of the SQE and its CQE; of LOST: until when the loss may have been, as `ns` */
	u32 connection;     /* fuse_conn.dev, the name under /sys/fs/fuse/connections */
	u32 opcode;
	s32 error;          /* 0 or a negative errno: the reply's, or the result of a command or a function */
	u32 queue;          /* FT_NO_QUEUE: none or not known */
	u32 pid;            /* of the current task: thread group, thread */
	u32 tid;
	u32 client_tid;     /* fuse_in_header.pid: the client's thread in the server's pid namespace */
	u32 command_op;     /* enum fuse_uring_cmd; of FIXED_IO the opcode of its SQE, enum io_uring_op */
	u32 buffer_id;      /* FT_NO_BUFFER: the queue has a pool, and the entry holds none of its buffers */
	u32 pool_offset;
	u32 payload_size;   /* of the buffer, bytes */
	/*
	 * fuse_in_header.len or fuse_out_header.len. Of PAGES_REGISTERED the bytes of the pages; of FIXED_IO the bytes that
	 * were moved; of LOST the number of events. Of REGISTER the bytes of its headers' iovec.
	 */
	u32 length;
	u8 kind;            /* enum ft_kind */
	u8 transport;       /* enum ft_transport */
	u16 flags;          /* enum ft_flag */
	u16 header_size;    /* valid bytes in header[] */
	u16 extra_size;     /* valid bytes in extra[] */
	u16 cpu;            /* of LOST: FT_NO_CPU where the kernel ran no probe for them */
	u16 slot;           /* the entry's registered-buffer index for zero-copy; of an SQE its buf_index */
	u16 step;           /* enum ft_step */
	u8 second;          /* where the second name starts in extra[]; 0: there is none */
	u8 reserved;
	u32 request_flags;  /* fuse_req.flags, the kernel's FR_* */
	u32 segments;       /* of PAGES_REGISTERED: in how many pieces the pages lie; with FT_FIXED: the SQE's buf_index */
	u32 buffers;        /* SELECTED and RECYCLED: buffers of the pool, and how many are free after it */
	u32 buffers_free;
	char comm[16];
	/*
	 * At DELIVERED and COMMITTED the fuse_uring_req_header as it lay in the server's memory. At QUEUED and ENDED
	 * the kernel's own copy in the same layout: fuse_in_header or fuse_out_header at 0, the operation's first
	 * argument at 128, nothing at 256. At ENDED of an operation about names, the request's first argument at 64
	 * (struct fuse_rename2_in, ...), FT_ARGUMENT_SIZE bytes of it.
	 *
	 * At ENTRIES and of payload, header[] and extra[] are one array of FT_PART_SIZE bytes: the payload from `length`
	 * on, of which payload_size is the whole; header_size bytes of it are valid. At MOUNTED they are one array with
	 * the path of the mount point.
	 */
	u8 header[FT_HEADER_SIZE];
	/*
	 * Commands: the command area. QUEUED, and ENDED of an operation about names: the names, each ended by NUL. INIT:
	 * 64 bytes of fuse_init_in, then 64 of fuse_init_out.
	 */
	u8 extra[FT_EXTRA_SIZE];
};

#endif
