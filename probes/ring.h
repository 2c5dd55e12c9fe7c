/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The ring, as every vantage sees it: commands, entries, and the CQE that ends a command. After request.h.
 */

#if FT_HAS_URING

/*
 * A command that was submitted and is not answered yet, by the identity that its CQE will have. What stood in its
 * SQE can't be read any more when the kernel answers later.
 */
struct ft_command_key { u64 ring, user_data; };
struct ft_command { u64 command, commit_id; u32 connection, queue, op, connected; };
BPF_TABLE("lru_hash", struct ft_command_key, struct ft_command, commands, 65536);

#define FT_SQE_COMMAND 48               /* offset of the command area in an SQE */
#define FT_SETUP_SQE128 (1U << 10)      /* IORING_SETUP_SQE128 */
#define FT_REGISTER_CMD 1               /* enum fuse_uring_cmd */
#define FT_COMMIT_CMD 2
#define FT_CMD_FIXED 1                  /* IORING_URING_CMD_FIXED, include/uapi/linux/io_uring.h */
#define FT_ADD_QUEUE_CMD 3
#define FT_ADD_BUFPOOL_CMD 4
#define FT_READ_OPCODE 15
#define FT_READDIRPLUS_OPCODE 44
#define FT_ENT_IN_OUT 256               /* offset of fuse_uring_req_header.ring_ent_in_out */
#define FT_ENOTCONN 107
#define FT_ECANCELED 125

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

/* The payload buffer that an entry has: its own, or one of its queue's pool, or none of that pool's. */
static inline void ft_read_payload(struct ft_record *e, struct fuse_ring_ent *ent) {
	u64 payload[2] = {};
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
#ifdef HAVE_fuse_ring_queue_bufpool
	struct fuse_ring_queue *queue = 0;
	struct fuse_bufpool *pool = 0;
	u64 base = 0;
	bool zero_copy = 0;
	READ(queue, ent->queue);
	READ(pool, queue->bufpool);
	READ(zero_copy, queue->zero_copy);
	if (zero_copy)
		e->flags |= FT_QUEUE_ZERO_COPY;
	if (!pool)
		return;
	e->flags |= FT_POOL;
	if (e->payload) {
		READ(base, pool->base_uaddr);
		e->pool_offset = e->payload - base;
		e->flags |= FT_HAS_BUFFER;
	} else {
		e->buffer_id = FT_NO_BUFFER;
	}
#endif
}

static inline void ft_read_entry(struct ft_record *e, struct fuse_ring_ent *ent) {
	struct fuse_uring_req_header *headers = 0;
	e->entry = (u64)ent;
	READ(headers, ent->headers);
	e->headers = (u64)headers;
	ft_read_payload(e, ent);
#ifdef HAVE_fuse_ring_ent_zero_copied
	bool zero_copied = 0;
	u32 slot = 0;
	READ(zero_copied, ent->zero_copied);
	if (zero_copied) {
		READ(slot, ent->zero_copy_index);
		e->slot = slot;
		e->flags |= FT_ZERO_COPIED | FT_HAS_SLOT;
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
	e->length = iovecs[1];
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
	READ_AT(payload, (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
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

#if FT_PAYLOAD_BYTES

/*
 * The first FT_PAYLOAD_BYTES of what lies in a payload buffer, in parts, after the DELIVERED or COMMITTED that it
 * belongs to. Payload that is in the client's pages (zero-copy) is in no buffer.
 */
struct ft_payload { u64 address; u32 size, connection, queue; };

static inline void ft_take_payload(struct ft_payload *payload, struct ft_record *e) {
	payload->connection = e->connection;
	payload->queue = e->queue;
	payload->address = e->header_size == FT_HEADER_SIZE ? e->payload : 0;
	payload->size = *(u32 *)(e->header + FT_ENT_IN_OUT + 16);
	/* Of a zero-copied WRITE the data, of such a READ the reply's. */
	if (e->flags & FT_ZERO_COPIED && (e->kind == FT_DELIVERED || e->opcode == FT_READ_OPCODE))
		payload->address = 0;
}

static inline void ft_send_payload(struct fuse_req *copy, struct ft_payload *payload, u8 kind) {
	u32 most = payload->size < FT_PAYLOAD_BYTES ? payload->size : FT_PAYLOAD_BYTES;
	#pragma clang loop unroll(disable)
	for (u32 i = 0; i < (FT_PAYLOAD_BYTES + FT_PART_SIZE - 1) / FT_PART_SIZE; i++) {
		u64 at = i * FT_PART_SIZE, size = most - at;
		if (!payload->address || at >= most)
			return;
		struct ft_record *e = ft_begin(kind);
		if (!e)
			return;
		ft_fill_request(e, copy);
		e->connection = payload->connection;
		e->transport = FT_URING;
		e->queue = payload->queue;
		e->length = at;
		e->payload_size = payload->size;
		if (size > FT_PART_SIZE)
			size = FT_PART_SIZE;
		FT_BOUND(size);
		if (size > 0 && size <= FT_PART_SIZE && !bpf_probe_read_user(e->header, size, (void *)(payload->address + at)))
			e->header_size = size;
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
}

#endif

static inline u8 ft_command_kind(u32 op) {
	switch (op) {
	case FT_REGISTER_CMD: return FT_REGISTER;
	case FT_COMMIT_CMD: return FT_COMMITTED;
	case FT_ADD_QUEUE_CMD: return FT_ADD_QUEUE;
	case FT_ADD_BUFPOOL_CMD: return FT_ADD_BUFPOOL;
	}
	return 0;
}
/* What of an io_kiocb a submission needs. The rest is not kept: a BPF stack has 512 bytes. */
struct ft_submission { u64 req, ring, user_data; const struct io_uring_sqe *sqe; u32 op, opcode; };

static inline void ft_take_submission(struct ft_submission *taken, u64 req, struct ft_kiocb *kiocb) {
	taken->req = req;
	taken->ring = FT_KIOCB(kiocb, u64, ctx);
	taken->user_data = FT_KIOCB(kiocb, u64, cqe.user_data);
	taken->sqe = FT_CMD(kiocb, const struct io_uring_sqe *, sqe);
	taken->op = FT_CMD(kiocb, u32, cmd_op);
	taken->opcode = FT_KIOCB(kiocb, u8, opcode);
}

/* A command that the server submits, seen when the kernel has not done anything about it yet. */
static inline void ft_submitted(struct ft_submission *taken, ft_channel *channel) {
	struct ft_command command = {};
	struct ft_command_key key = {};
	struct fuse_req copy, *committed = 0;
	u32 ring_flags = 0;

	command.connection = ft_channel_number(channel);
	if (!ft_connection_wanted(command.connection))
		return;
	const struct io_uring_sqe *sqe = taken->sqe;
	command.op = taken->op;
	READ(command.connected, channel->connected);
	READ(ring_flags, ((struct io_ring_ctx *)taken->ring)->flags);
	struct { u64 flags, commit_id; u16 qid; } area = {};
	READ_AT(area, (char *)sqe + FT_SQE_COMMAND);
	/* An SQE of 64 bytes has room for 16: flags and commit id. */
	int whole = (ring_flags & FT_SETUP_SQE128) || taken->opcode != IORING_OP_URING_CMD;
	command.queue = whole ? area.qid : FT_NO_QUEUE;
	command.commit_id = area.commit_id;
	command.command = taken->req;
	key.ring = taken->ring;
	key.user_data = taken->user_data;
	/* Written in place where there is one: an update of an LRU map takes a new node and frees the old one. */
	struct ft_command *before = commands.lookup(&key);
	if (before)
		*before = command;
	else
		commands.update(&key, &command);

	u8 kind = ft_command_kind(command.op);
	if (!kind)
		return;
	if (kind == FT_COMMITTED && whole) {
		struct fuse_ring_queue *queue = ft_ring_queue(channel, area.qid);
		if (queue)
			committed = ft_find_request(queue, area.commit_id);
	}
	if (committed) {
		READ_AT(copy, committed);
		if (copy.in.h.opcode == FT_READDIRPLUS_OPCODE && copy.ring_entry)
			ft_send_entries(&copy, copy.ring_entry, command.connection);
	}
	if (!ft_queue_wanted(command.queue) || (FT_OPCODES && !committed) || (FT_CLIENT && !committed))
		return;
	if (committed) {
		if (!ft_opcode_wanted(copy.in.h.opcode) || !ft_shown(committed))
			return;
	}
	struct ft_record *e = ft_begin(kind);
	if (!e)
		return;
	e->connection = command.connection;
	e->transport = FT_URING;
	e->queue = command.queue;
	e->command = taken->req;
	e->command_op = command.op;
	e->user_data = taken->user_data;
	if (kind == FT_COMMITTED)
		e->commit_id = area.commit_id;
	if (committed) {
		ft_fill_request(e, &copy);
		if (copy.ring_entry)
			ft_read_entry(e, copy.ring_entry);
		e->flags |= ft_args_flags(copy.args);
		if (e->header_size) {
			e->length = *(u32 *)e->header;
			e->error = *(s32 *)(e->header + 4);
			e->flags |= FT_HAS_ERROR;
		}
	}
	if (kind == FT_REGISTER)
		ft_read_iovecs(e, sqe);
	u16 index = 0;
	u32 command_flags = 0;
	READ(index, sqe->buf_index);
	READ(command_flags, sqe->uring_cmd_flags);
	if (!(e->flags & FT_HAS_SLOT))
		e->slot = index;
	if (command_flags & FT_CMD_FIXED) {
		e->flags |= FT_FIXED;
		e->segments = index;
	}
	e->extra_size = whole ? FT_COMMAND_SIZE : 16;
	bpf_probe_read_kernel(e->extra, whole ? FT_COMMAND_SIZE : 16, (char *)sqe + FT_SQE_COMMAND);
#if FT_PAYLOAD_BYTES
	struct ft_payload payload = {};
	ft_take_payload(&payload, e);
#endif
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
#if FT_PAYLOAD_BYTES
	if (committed && copy.ring_entry)
		ft_send_payload(&copy, &payload, FT_REPLY_PAYLOAD);
#endif
}

#endif
