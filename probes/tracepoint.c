// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoint vantage: fuse_request_send, fuse_request_sent (7.3 on), fuse_request_end, io_uring_submit_req,
 * io_uring_complete and io_uring_cqe_overflow. With these alone the conversation is complete: QUEUED, DELIVERED,
 * COMMITTED, ENDED; INIT, ADD_QUEUE, ADD_BUFPOOL, REGISTER; REFUSED and STOPPED.
 *
 * Raw tracepoint programs may read no argument past those of the tracepoint; the program loads and fails to attach.
 */

/*
 * A command that was submitted and is not answered yet, by the identity that its CQE will have. What stood in its
 * SQE can't be read any more when the kernel answers later.
 */
struct ft_command_key { u64 ring, user_data; };
struct ft_command { u64 command, commit_id; u32 connection, queue, op, connected; };
BPF_TABLE("lru_hash", struct ft_command_key, struct ft_command, commands, 65536);

#define FT_SQE_COMMAND 48               /* offset of the command area in an SQE */
#define FT_SETUP_SQE128 (1U << 10)      /* IORING_SETUP_SQE128 */
#define FT_FIXED_FILE 1U                /* REQ_F_FIXED_FILE, which is IOSQE_FIXED_FILE */
#define FT_REGISTER_CMD 1               /* enum fuse_uring_cmd */
#define FT_COMMIT_CMD 2
#define FT_ADD_QUEUE_CMD 3
#define FT_ADD_BUFPOOL_CMD 4
#define FT_INIT_OPCODE 26
#define FT_READDIRPLUS_OPCODE 44
#define FT_OPERATION 128                /* offset of fuse_uring_req_header.op_in */
#define FT_ENT_IN_OUT 256               /* offset of fuse_uring_req_header.ring_ent_in_out */
#define FT_MOST_PARTS 280               /* of a reply to READDIRPLUS: 131 KiB */
#define FT_ENOTCONN 107
#define FT_ECANCELED 125

/* ---- which requests are shown ---- */

static inline int ft_background(u64 flags) {
	return flags >> FR_BACKGROUND & 1;
}

static inline int ft_over_uring(u64 flags) {
#ifdef HAVE_FR_URING
	return flags >> FR_URING & 1;
#else
	return 0;
#endif
}

/*
 * The request's queue is chosen right after QUEUED, as the CPU that the client runs on. So that is what the filter
 * asks; a client that is moved between the two makes the guess wrong, which ENDED takes into account.
 */
static inline int ft_chosen(u64 sender, u32 client_is_current, u32 client_tid) {
#if FT_QUEUES
	if (sender != FT_SEND_URING || !ft_queue_wanted(bpf_get_smp_processor_id()))
		return 0;
#endif
#if FT_CLIENT
	u64 id = bpf_get_current_pid_tgid();
	u8 yes = 1;
	if (id >> 32 == FT_CLIENT) {
		u32 tid = id;
		client_threads.update(&tid, &yes);
		return 1;
	}
	return !client_is_current && client_threads.lookup(&client_tid) != 0;
#endif
	return 1;
}

static inline int ft_shown(struct fuse_req *req) {
	u64 key = (u64)req;
	u8 *verdict = verdicts.lookup(&key);
#if FT_CLIENT
	return verdict && *verdict == FT_CHOSEN;
#else
	return !verdict || *verdict == FT_CHOSEN;
#endif
}

/* ---- requests ---- */

/* Addresses, made without a `->` that bcc would turn into a read of its own where it can't. */
#define FT_IN_ARGS(args) ((char *)(args) + __builtin_offsetof(struct fuse_args, in_args))
#define FT_OUT_ARGS(args) ((char *)(args) + __builtin_offsetof(struct fuse_args, out_args))

static inline int ft_has_operation_header(u32 opcode) {
	return opcode != 1 && opcode != 5 && opcode != 6 && opcode != 10 && opcode != 11 && opcode != 24;
}

/* Names that a request brings: LINK one, RENAME, RENAME2 and SYMLINK two. */
static inline int ft_names(u32 opcode) {
	switch (opcode) {
	case 6: case 12: case 45:
		return 2;
	case 1: case 8: case 9: case 10: case 11: case 13: case 21: case 22: case 24: case 35:
		return 1;
	}
	return 0;
}

/*
 * Keeps the compiler from testing a copy of a length and using the original, which has no bound that the verifier knows
 * (clang 19 does). Used on a u64, of which no 32-bit copy is made.
 */
#define FT_BOUND(length) asm volatile("" : "+r"(length))

static inline void ft_read_names(struct ft_record *e, struct fuse_args *args) {
	struct fuse_in_arg in[3] = {};
	int names = ft_names(e->opcode);
	if (!names)
		return;
	bpf_probe_read_kernel(&in, sizeof(in), FT_IN_ARGS(args));
	/* Before io_uring came, an operation without a header had its name as the first argument. */
	int old = !ft_has_operation_header(e->opcode) && in[0].size > 0;
	u32 room = names == 2 ? FT_EXTRA_SIZE / 2 : FT_EXTRA_SIZE;
	if (names == 2)
		__builtin_memset(e->extra, 0, FT_EXTRA_SIZE / 2);
	u64 size = old ? in[0].size : in[1].size;
	const void *value = old ? in[0].value : in[1].value;
	FT_BOUND(size);
	if (size > room) {
		size = room;
		e->flags |= FT_NAME_CUT;
	}
	e->extra_size = size;
	FT_BOUND(size);
	if (size > 0 && size <= FT_EXTRA_SIZE)
		bpf_probe_read_kernel(e->extra, size, value);
	if (names == 1)
		return;
	size = old ? in[1].size : in[2].size;
	value = old ? in[1].value : in[2].value;
	FT_BOUND(size);
	if (size > FT_EXTRA_SIZE / 2) {
		size = FT_EXTRA_SIZE / 2;
		e->flags |= FT_NAME_CUT;
	}
	e->second = FT_EXTRA_SIZE / 2;
	e->extra_size = FT_EXTRA_SIZE / 2 + size;
	FT_BOUND(size);
	if (size > 0 && size <= FT_EXTRA_SIZE / 2)
		bpf_probe_read_kernel(e->extra + FT_EXTRA_SIZE / 2, size, value);
}

/*
 * Operations after which a path may be another one: those that make, remove, move or look up a name. READDIRPLUS does
 * too; what it brings is in its payload. INIT is one of them: all numbers are another connection's from then on.
 */
static inline int ft_changes_names(u32 opcode) {
	switch (opcode) {
	case 1: case 6: case 8: case 9: case 10: case 11: case 12: case 13: case 26: case 35: case 44: case 45: case 51:
		return 1;
	}
	return 0;
}

/* The first argument of RENAME, RENAME2 and LINK: the other inode that they are about. */
static inline void ft_read_argument(struct ft_record *e, struct fuse_args *args) {
	struct fuse_in_arg first = {};
	u32 size;
	if (e->opcode != 12 && e->opcode != 13 && e->opcode != 45)
		return;
	bpf_probe_read_kernel(&first, sizeof(first), FT_IN_ARGS(args));
	size = first.size;
	if (size > FT_ARGUMENT_SIZE)
		size = FT_ARGUMENT_SIZE;
	if (size)
		bpf_probe_read_kernel(e->header + FT_ARGUMENT, size, first.value);
}

/*
 * Whether the reply's first argument is what a file's owner put there: the value of GETXATTR, the names of LISTXATTR. It
 * is data, and not recorded. A request for the size alone, whose fuse_getxattr_in.size is 0, is answered by a structure.
 */
static inline int ft_replies_with_a_value(u32 opcode, struct fuse_args *args) {
	struct fuse_in_arg first = {};
	u32 asked = 0;
	if (opcode != 22 && opcode != 23)
		return 0;
	bpf_probe_read_kernel(&first, sizeof(first), FT_IN_ARGS(args));
	bpf_probe_read_kernel(&asked, sizeof(asked), first.value);
	return asked != 0;
}

/* The kernel's own fuse_in_header or fuse_out_header; what lies between it and the operation's part is 0. */
static inline void ft_write_header(struct ft_record *e, const void *header, u32 size) {
	__builtin_memset(e->header, 0, FT_OPERATION);
	__builtin_memcpy(e->header, header, size);
	e->header_size = size;
}

static inline void ft_read_operation(struct ft_record *e, const void *value, u32 size) {
	if (!value || !size)
		return;
	if (size > 128)
		size = 128;
	bpf_probe_read_kernel(e->header + FT_OPERATION, size, value);
	e->header_size = FT_OPERATION + size;
}

/* The request's own fields; the record's opcode, unique and the like come from the kernel, never from the server. */
static inline void ft_fill_request(struct ft_record *e, struct fuse_req *copy) {
	e->unique = copy->in.h.unique;
	e->opcode = copy->in.h.opcode;
	e->node_id = copy->in.h.nodeid;
	e->client_tid = copy->in.h.pid;
	e->length = copy->in.h.len;
	e->request_flags = copy->flags;
	if (ft_background(copy->flags))
		e->flags |= FT_BACKGROUND;
}

static inline int ft_virtiofs(ft_channel *channel) {
	u64 sender = ft_channel_sender(channel);
	return sender != FT_SEND_DEV && sender != FT_SEND_URING;
}

RAW_TRACEPOINT_PROBE(fuse_request_send) {
	struct fuse_req copy, *req = (void *)ctx->args[0];
	u64 key = (u64)req, id = bpf_get_current_pid_tgid();
	u8 verdict = FT_CHOSEN;

	bpf_probe_read_kernel(&copy, sizeof(copy), req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (copy.in.h.opcode == FT_INIT_OPCODE)
		ft_connection_begins(connection);
	if (!ft_connection_wanted(connection) || !ft_opcode_wanted(copy.in.h.opcode))
		return 0;
	u64 sender = ft_channel_sender(channel);
	if (sender != FT_SEND_DEV && sender != FT_SEND_URING)
		return 0;
	/*
	 * A background request may be sent later, by another task, when others have ended; over io_uring it is given to
	 * its queue at once (fuse_request_queue_background_uring).
	 */
	u32 client_is_current = !ft_background(copy.flags) || sender == FT_SEND_URING || copy.in.h.pid == (u32)id;
	if (id >> 32 == FT_SELF) {
		verdict = FT_HIDDEN;
		verdicts.update(&key, &verdict);
		return 0;
	}
	if (!ft_chosen(sender, client_is_current, copy.in.h.pid))
		return 0;
#if FT_CLIENT || FT_QUEUES
	verdicts.update(&key, &verdict);
#endif
	struct ft_record *e = ft_begin(FT_QUEUED);
	if (!e)
		return 0;
	ft_fill_request(e, &copy);
	if (client_is_current)
		e->flags |= FT_CURRENT_IS_CLIENT;
	e->connection = connection;
	ft_write_header(e, &copy.in.h, sizeof(copy.in.h));
	if (copy.args && ft_has_operation_header(e->opcode)) {
		struct fuse_in_arg first = {};
		bpf_probe_read_kernel(&first, sizeof(first), FT_IN_ARGS(copy.args));
		ft_read_operation(e, first.value, first.size);
	}
	if (copy.args)
		ft_read_names(e, copy.args);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

#ifdef FT_HAVE_REQUEST_SENT
/* A request that goes by /dev/fuse is in the server's hands; of one over io_uring the CQE says so. */
RAW_TRACEPOINT_PROBE(fuse_request_sent) {
	struct fuse_req copy, *req = (void *)ctx->args[0];

	bpf_probe_read_kernel(&copy, sizeof(copy), req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (FT_QUEUES || ft_over_uring(copy.flags) || !ft_connection_wanted(connection))
		return 0;
	if (!ft_opcode_wanted(copy.in.h.opcode) || ft_virtiofs(channel) || !ft_shown(req))
		return 0;
	struct ft_record *e = ft_begin(FT_DELIVERED);
	if (!e)
		return 0;
	ft_fill_request(e, &copy);
	e->transport = FT_DEV;
	e->connection = connection;
	ft_write_header(e, &copy.in.h, sizeof(copy.in.h));
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}
#endif

static inline void ft_init(struct fuse_req *copy, u32 connection) {
	struct fuse_in_arg in = {};
	struct fuse_arg out = {};
	s32 error = copy->out.h.error;
	struct ft_record *e = ft_begin(FT_INIT);
	if (!e)
		return;
	ft_fill_request(e, copy);
	e->connection = connection;
	e->transport = FT_DEV;
	e->error = error;
	e->flags |= FT_HAS_ERROR;
	bpf_probe_read_kernel(&in, sizeof(in), FT_IN_ARGS(copy->args));
	bpf_probe_read_kernel(&out, sizeof(out), FT_OUT_ARGS(copy->args));
	__builtin_memset(e->extra, 0, 128);
	if (in.value && in.size)
		bpf_probe_read_kernel(e->extra, in.size < 64 ? in.size : 64, in.value);
	if (!error && out.value && out.size)
		bpf_probe_read_kernel(e->extra + 64, out.size < 64 ? out.size : 64, out.value);
	e->extra_size = error ? 64 : 128;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

RAW_TRACEPOINT_PROBE(fuse_request_end) {
	struct fuse_req copy, *req = (void *)ctx->args[0];
	u64 key = (u64)req;
	u32 queue = FT_NO_QUEUE;

	bpf_probe_read_kernel(&copy, sizeof(copy), req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (!ft_connection_wanted(connection))
		return 0;
	if (!ft_over_uring(copy.flags) && ft_virtiofs(channel))
		return 0;
	u8 *verdict = verdicts.lookup(&key);
	u8 decided = verdict ? *verdict : 0;
	if (decided)
		verdicts.delete(&key);
#ifdef HAVE_fuse_req_ring_queue
	struct fuse_ring_queue *ring_queue = copy.ring_queue;
	if (ft_over_uring(copy.flags) && ring_queue)
		READ(queue, ring_queue->qid);
#endif
	int names_something = copy.args && ft_changes_names(copy.in.h.opcode);
	int shown = ft_opcode_wanted(copy.in.h.opcode) && decided != FT_HIDDEN && !(FT_CLIENT && !decided);
	if (!decided && FT_QUEUES && (queue == FT_NO_QUEUE || !ft_queue_wanted(queue)))
		shown = 0;
	if (!shown && !names_something)
		return 0;
	struct ft_record *e = ft_begin(shown ? FT_ENDED : FT_NAMED);
	if (!e)
		return 0;
	ft_fill_request(e, &copy);
	e->connection = connection;
	e->queue = queue;
	e->transport = ft_over_uring(copy.flags) ? FT_URING : FT_DEV;
	e->error = copy.out.h.error;
	e->length = copy.out.h.len;
	e->flags |= FT_HAS_ERROR;
	ft_write_header(e, &copy.out.h, sizeof(copy.out.h));
	if (copy.args && !copy.out.h.error && !ft_replies_with_a_value(e->opcode, copy.args)) {
		struct fuse_arg first = {};
		bpf_probe_read_kernel(&first, sizeof(first), FT_OUT_ARGS(copy.args));
		ft_read_operation(e, first.value, first.size);
	}
	if (names_something) {
		ft_read_argument(e, copy.args);
		ft_read_names(e, copy.args);
	}
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	if (shown && copy.in.h.opcode == FT_INIT_OPCODE && copy.args)
		ft_init(&copy, connection);
	return 0;
}

/* ---- commands and their completions ---- */

#if FT_HAS_URING

/*
 * The part of an io_kiocb that tells what command it is, copied at once: eight reads are eight calls. The command,
 * struct io_uring_cmd, lies at its start.
 */
struct ft_kiocb { u64 words[(__builtin_offsetof(struct io_kiocb, ctx) + sizeof(u64)) / sizeof(u64)]; };
#define FT_AT(kiocb, type, offset) (*(type *)((char *)(kiocb)->words + (offset)))
#define FT_KIOCB(kiocb, type, member) FT_AT(kiocb, type, __builtin_offsetof(struct io_kiocb, member))
#define FT_CMD(kiocb, type, member) FT_AT(kiocb, type, __builtin_offsetof(struct io_uring_cmd, member))
_Static_assert(__builtin_offsetof(struct io_kiocb, opcode) < __builtin_offsetof(struct io_kiocb, ctx), "io_kiocb");
_Static_assert(__builtin_offsetof(struct io_kiocb, flags) < __builtin_offsetof(struct io_kiocb, ctx), "io_kiocb");
_Static_assert(__builtin_offsetof(struct io_kiocb, cqe) < __builtin_offsetof(struct io_kiocb, ctx), "io_kiocb");

static inline int ft_is_command(u8 opcode) {
#ifdef HAVE_IORING_OP_URING_CMD128
	if (opcode == IORING_OP_URING_CMD128)
		return 1;
#endif
	return opcode == IORING_OP_URING_CMD;
}

/* At submission the file is not looked up yet: req->file is still NULL, the descriptor stands in req->cqe. */
static inline struct file *ft_submitted_file(struct ft_kiocb *kiocb, struct io_ring_ctx *ring) {
	struct file *file = 0;
	u32 fd = FT_KIOCB(kiocb, u32, cqe.fd);
	if (FT_KIOCB(kiocb, u64, flags) & FT_FIXED_FILE) {
		struct io_rsrc_node **nodes = 0, *node = 0;
		u64 file_ptr = 0;
		u32 count = 0;
		READ(count, ring->file_table.data.nr);
		READ(nodes, ring->file_table.data.nodes);
		if (fd >= count || !nodes)
			return 0;
		READ(node, nodes[fd]);
		if (node)
			READ(file_ptr, node->file_ptr);
		return (struct file *)(file_ptr & ~3ULL);   /* FFS_MASK, io_uring/filetable.h */
	}
	return ft_open_file(fd);
}

static inline struct fuse_ring_queue *ft_ring_queue(ft_channel *channel, u32 qid) {
	struct fuse_ring *ring = 0;
	struct fuse_ring_queue **queues = 0, *queue = 0;
	u64 count = 0;
	READ(ring, channel->ring);
	if (!ring)
		return 0;
	READ(count, ring->nr_queues);
	READ(queues, ring->queues);
	if (qid >= count || !queues)
		return 0;
	READ(queue, queues[qid]);
	return queue;
}

/*
 * The request that a commit id names, found as the kernel will in a moment: fuse_request_find() in fs/fuse/dev.c, a
 * hash of 256 lists. The lists are read without the queue's lock, so what was found is checked, and the walk is short.
 */
static inline struct fuse_req *ft_find_request(struct fuse_ring_queue *queue, u64 commit_id) {
	struct list_head *table = 0, *head, *at = 0;
	u64 hash = (commit_id & ~1ULL) * 0x61C8864680B583EBULL >> 56;   /* hash_long(), GOLDEN_RATIO_64 */
	READ(table, queue->fpq.processing);
	if (!table)
		return 0;
	head = table + hash;
	READ(at, head->next);
	#pragma unroll
	for (int i = 0; i < 16; i++) {
		u64 unique = 0;
		if (!at || at == head)
			return 0;
		struct fuse_req *req = (void *)((char *)at - __builtin_offsetof(struct fuse_req, list));
		READ(unique, req->in.h.unique);
		if (unique == commit_id)
			return req;
		READ(at, at->next);
	}
	return 0;
}

static inline void ft_read_entry(struct ft_record *e, struct fuse_ring_ent *ent) {
	struct fuse_uring_req_header *headers = 0;
	u64 payload[2] = {};
	e->entry = (u64)ent;
	READ(headers, ent->headers);
	e->headers = (u64)headers;
	/* A plain address, or since 7.3 an iovec: the address comes first in both. */
	if (sizeof(ent->payload) == sizeof(payload))
		bpf_probe_read_kernel(payload, sizeof(payload), (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	else
		bpf_probe_read_kernel(payload, sizeof(u64), (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	e->payload = payload[0];
	e->payload_size = payload[1];
#ifdef HAVE_fuse_ring_ent_buf_id
	READ(e->buffer_id, ent->buf_id);
#endif
#ifdef HAVE_fuse_ring_ent_zero_copied
	bool zero_copied = 0;
	READ(zero_copied, ent->zero_copied);
	if (zero_copied)
		e->flags |= FT_ZERO_COPIED;
#endif
#ifdef HAVE_fuse_ring_ent_zero_copy_index
	u32 slot = 0;
	READ(slot, ent->zero_copy_index);
	e->slot = slot;
#endif
#ifdef HAVE_fuse_ring_queue_bufpool
	struct fuse_ring_queue *queue = 0;
	struct fuse_bufpool *pool = 0;
	u64 base = 0;
	READ(queue, ent->queue);
	READ(pool, queue->bufpool);
	if (pool && e->payload) {
		READ(base, pool->base_uaddr);
		e->pool_offset = e->payload - base;
		e->flags |= FT_HAS_BUFFER;
	} else if (pool) {
		e->buffer_id = FT_NO_BUFFER;
	}
#endif
	if (!bpf_probe_read_user(e->header, FT_HEADER_SIZE, headers)) {
		e->header_size = FT_HEADER_SIZE;
		e->flags |= FT_HEADER_FROM_SERVER;
	}
}

/* REGISTER brings two iovecs: the header slot (or all of them), the payload buffer. */
static inline void ft_read_iovecs(struct ft_record *e, const struct io_uring_sqe *sqe) {
	u64 address = 0, iovecs[4] = {};
	u32 count = 0;
	READ(address, sqe->addr);
	READ(count, sqe->len);
	if (count != 2 || bpf_probe_read_user(iovecs, sizeof(iovecs), (void *)address))
		return;
	e->headers = iovecs[0];
	e->payload = iovecs[2];
	e->payload_size = iovecs[3];
}

/*
 * The reply to READDIRPLUS that a COMMIT brings: what numbers its entries get. It lies in the server's payload buffer,
 * and is sent in parts; of a very long one the rest is not sent, which payload_size shows.
 */
static inline void ft_send_entries(struct fuse_req *copy, struct fuse_ring_ent *ent, u32 connection) {
	struct fuse_uring_req_header *headers = 0;
	struct { u32 len; s32 error; } reply = {};
	struct { u64 flags, commit_id; u32 payload_sz; } entry = {};
	u64 payload = 0;

	READ(headers, ent->headers);
	bpf_probe_read_kernel(&payload, sizeof(payload), (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	if (bpf_probe_read_user(&reply, sizeof(reply), headers) || reply.error)
		return;
	if (bpf_probe_read_user(&entry, sizeof(entry), (char *)headers + FT_ENT_IN_OUT))
		return;
	#pragma clang loop unroll(disable)
	for (u32 i = 0; i < FT_MOST_PARTS; i++) {
		u64 at = i * FT_PART_SIZE, size = entry.payload_sz - at;
		if (at >= entry.payload_sz && i)   /* of an empty reply, one empty part */
			return;
		struct ft_record *e = ft_begin(FT_ENTRIES);
		if (!e)
			return;
		ft_fill_request(e, copy);
		e->connection = connection;
		e->transport = FT_URING;
		e->length = at;
		e->payload_size = entry.payload_sz;
		if (size > FT_PART_SIZE)
			size = FT_PART_SIZE;
		FT_BOUND(size);
		if (size > 0 && size <= FT_PART_SIZE && !bpf_probe_read_user(e->header, size, (void *)(payload + at)))
			e->header_size = size;
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
}

static inline u8 ft_command_kind(u32 op) {
	switch (op) {
	case FT_REGISTER_CMD: return FT_REGISTER;
	case FT_COMMIT_CMD: return FT_COMMITTED;
	case FT_ADD_QUEUE_CMD: return FT_ADD_QUEUE;
	case FT_ADD_BUFPOOL_CMD: return FT_ADD_BUFPOOL;
	}
	return 0;
}

RAW_TRACEPOINT_PROBE(io_uring_submit_req) {
	void *req = (void *)ctx->args[0];
	struct ft_kiocb kiocb;
	struct ft_command command = {};
	struct ft_command_key key = {};
	struct fuse_req copy, *committed = 0;
	u32 ring_flags = 0;

	bpf_probe_read_kernel(&kiocb, sizeof(kiocb), req);
	u8 opcode = FT_KIOCB(&kiocb, u8, opcode);
	if (!ft_is_command(opcode))
		return 0;
	struct io_ring_ctx *ring = FT_KIOCB(&kiocb, struct io_ring_ctx *, ctx);
	const struct io_uring_sqe *sqe = FT_CMD(&kiocb, const struct io_uring_sqe *, sqe);
	ft_channel *channel = ft_fuse_file_channel(ft_submitted_file(&kiocb, ring));
	if (!channel)
		return 0;
	command.connection = ft_channel_number(channel);
	if (!ft_connection_wanted(command.connection))
		return 0;
	command.op = FT_CMD(&kiocb, u32, cmd_op);
	READ(command.connected, channel->connected);
	READ(ring_flags, ring->flags);
	struct { u64 flags, commit_id; u16 qid; } area = {};
	bpf_probe_read_kernel(&area, sizeof(area), (char *)sqe + FT_SQE_COMMAND);
	/* An SQE of 64 bytes has room for 16: flags and commit id. */
	int whole = (ring_flags & FT_SETUP_SQE128) || opcode != IORING_OP_URING_CMD;
	command.queue = whole ? area.qid : FT_NO_QUEUE;
	command.commit_id = area.commit_id;
	command.command = (u64)req;
	key.ring = (u64)ring;
	key.user_data = FT_KIOCB(&kiocb, u64, cqe.user_data);
	/* Written in place where there is one: an update of an LRU map takes a new node and frees the old one. */
	struct ft_command *before = commands.lookup(&key);
	if (before)
		*before = command;
	else
		commands.update(&key, &command);

	u8 kind = ft_command_kind(command.op);
	if (!kind)
		return 0;
	if (kind == FT_COMMITTED && whole) {
		struct fuse_ring_queue *queue = ft_ring_queue(channel, area.qid);
		if (queue)
			committed = ft_find_request(queue, area.commit_id);
	}
	if (committed) {
		bpf_probe_read_kernel(&copy, sizeof(copy), committed);
		if (copy.in.h.opcode == FT_READDIRPLUS_OPCODE && copy.ring_entry)
			ft_send_entries(&copy, copy.ring_entry, command.connection);
	}
	if (!ft_queue_wanted(command.queue) || (FT_OPCODES && !committed) || (FT_CLIENT && !committed))
		return 0;
	if (committed) {
		if (!ft_opcode_wanted(copy.in.h.opcode) || !ft_shown(committed))
			return 0;
	}
	struct ft_record *e = ft_begin(kind);
	if (!e)
		return 0;
	e->connection = command.connection;
	e->transport = FT_URING;
	e->queue = command.queue;
	e->command = (u64)req;
	e->command_op = command.op;
	e->user_data = key.user_data;
	if (kind == FT_COMMITTED)
		e->commit_id = area.commit_id;
	if (committed) {
		ft_fill_request(e, &copy);
		if (copy.ring_entry)
			ft_read_entry(e, copy.ring_entry);
		if (e->header_size) {
			e->length = *(u32 *)e->header;
			e->error = *(s32 *)(e->header + 4);
			e->flags |= FT_HAS_ERROR;
		}
	}
	if (kind == FT_REGISTER)
		ft_read_iovecs(e, sqe);
	if (!e->slot)
		READ(e->slot, sqe->buf_index);
	e->extra_size = whole ? FT_COMMAND_SIZE : 16;
	bpf_probe_read_kernel(e->extra, whole ? FT_COMMAND_SIZE : 16, (char *)sqe + FT_SQE_COMMAND);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * A command that the kernel answered with an error. An entry that was idle or whose request was given up when the
 * connection ended is answered too: -ENOTCONN or -ECANCELED on a connection that was alive at its submission.
 */
static inline void ft_failed(u64 req, u32 op, struct ft_command_key *key, u32 connection, s32 result, u8 extra_flags) {
	struct ft_command *command = commands.lookup(key);
	int known = command && command->command == req;
	int given_up = result == -FT_ENOTCONN || result == -FT_ECANCELED;
	/* One that was submitted before tracing began was accepted: a refusal comes with the submission itself. */
	int stopped = given_up && (!known || command->connected);
	if (FT_OPCODES || FT_CLIENT || (FT_QUEUES && !(known && ft_queue_wanted(command->queue))))
		return;
	struct ft_record *e = ft_begin(stopped ? FT_STOPPED : FT_REFUSED);
	if (!e)
		return;
	e->connection = connection;
	e->transport = FT_URING;
	e->command = req;
	e->command_op = op;
	e->user_data = key->user_data;
	e->error = result;
	e->flags |= FT_HAS_ERROR | extra_flags;
	if (known) {
		e->queue = command->queue;
		if (command->op == FT_COMMIT_CMD)
			e->commit_id = command->commit_id;
	}
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* The server gets its CQE: with it a request, an error, or the plain success of ADD_QUEUE and ADD_BUFPOOL. */
static inline void ft_completed(u64 req, struct ft_kiocb *kiocb, s32 result, u8 extra_flags) {
	struct ft_command_key key = {};
	struct fuse_ring_queue *queue = 0;
	struct fuse_req copy, *delivered = 0;
	u32 qid = FT_NO_QUEUE;

	ft_channel *channel = ft_fuse_file_channel(FT_KIOCB(kiocb, struct file *, file));
	if (!channel)
		return;
	u32 connection = ft_channel_number(channel);
	if (!ft_connection_wanted(connection))
		return;
	u32 op = FT_CMD(kiocb, u32, cmd_op);
	key.ring = FT_KIOCB(kiocb, u64, ctx);
	key.user_data = FT_KIOCB(kiocb, u64, cqe.user_data);
	if (result < 0) {
		ft_failed(req, op, &key, connection, result, extra_flags);
		return;
	}
	if (op != FT_REGISTER_CMD && op != FT_COMMIT_CMD)
		return;
	struct fuse_ring_ent *ent = FT_CMD(kiocb, struct fuse_ring_ent *, pdu);   /* struct fuse_uring_pdu */
	if (!ent)
		return;
	READ(queue, ent->queue);
	READ(delivered, ent->fuse_req);
	if (queue)
		READ(qid, queue->qid);
	if (!ft_queue_wanted(qid) || !delivered)
		return;
	bpf_probe_read_kernel(&copy, sizeof(copy), delivered);
	if (!ft_opcode_wanted(copy.in.h.opcode) || !ft_shown(delivered))
		return;
	struct ft_record *e = ft_begin(FT_DELIVERED);
	if (!e)
		return;
	ft_fill_request(e, &copy);
	ft_read_entry(e, ent);
	e->connection = connection;
	e->transport = FT_URING;
	e->queue = qid;
	e->command = req;
	e->command_op = op;
	e->user_data = key.user_data;
	e->flags |= extra_flags;
	if (e->header_size)
		e->commit_id = *(u64 *)(e->header + 264);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

RAW_TRACEPOINT_PROBE(io_uring_complete) {
	u64 req = ctx->args[1];
	struct io_uring_cqe *cqe = (void *)ctx->args[2];
	struct ft_kiocb kiocb;
	s32 result = 0;
	if (!req)
		return 0;
	bpf_probe_read_kernel(&kiocb, sizeof(kiocb), (void *)req);
	if (!ft_is_command(FT_KIOCB(&kiocb, u8, opcode)))
		return 0;
	READ(result, cqe->res);
	ft_completed(req, &kiocb, result, 0);
	return 0;
}

/*
 * The tracepoint does not say which request's CQE it is. All that complete together are in a list while their CQEs are
 * written; a server that gives two commands the same user_data can't tell them apart, and neither can this.
 */
RAW_TRACEPOINT_PROBE(io_uring_cqe_overflow) {
	struct io_ring_ctx *ring = (void *)ctx->args[0];
	struct io_wq_work_node *node = 0;
	struct ft_kiocb kiocb;
	u64 wanted = ctx->args[1], found = 0;

	READ(node, ring->submit_state.compl_reqs.first);
	#pragma unroll
	for (int i = 0; i < 64 && node; i++) {
		u64 req = (u64)node - __builtin_offsetof(struct io_kiocb, comp_list);
		bpf_probe_read_kernel(&kiocb, sizeof(kiocb), (void *)req);
		if (FT_KIOCB(&kiocb, u64, cqe.user_data) == wanted && ft_is_command(FT_KIOCB(&kiocb, u8, opcode))) {
			found = req;
			break;
		}
		READ(node, node->next);
	}
	if (found)
		ft_completed(found, &kiocb, (s32)ctx->args[2], FT_CQE_OVERFLOW);
	return 0;
}

#endif
