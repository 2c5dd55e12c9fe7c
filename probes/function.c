// SPDX-License-Identifier: GPL-2.0
/*
 * The function vantage: what is seen where the kernel goes into a function of its own, or comes out of it. Here are the
 * handlers; the programs that call them, one a function, are written by the loader for what this kernel allows (fentry
 * and fexit, or kprobe and kretprobe) and for the places of the function's arguments (furtrace/probe/functions.py).
 *
 *   FT_BUFFERS_AT_FUNCTION   1: fuse_uring_select_buffer() and fuse_uring_recycle_buffer() are attached
 *   FT_PAGES_AT_FUNCTION     1: io_buffer_register_bvec() is
 *   FT_KERNEL_STEPS          1: the steps of `--steps kernel` are
 */

#if FT_HAS_URING

#define FT_CMD_REISSUE (1U << 31)       /* IORING_URING_CMD_REISSUE, include/linux/io_uring/cmd.h */
#define FT_CMD_CANCEL 2048              /* IO_URING_F_CANCEL, include/linux/io_uring_types.h */
#define FT_QUEUED_BY_IO_URING (-529)    /* -EIOCBQUEUED: the command was taken, its CQE comes later */

/* ---- whom a function works for ---- */

/* The entry that a command is of, struct fuse_uring_pdu; not to be trusted before the command was taken. */
static inline struct fuse_ring_ent *ft_entry_of(struct io_uring_cmd *cmd) {
	struct fuse_ring_ent *ent = 0;
	READ_AT(ent, (char *)cmd + __builtin_offsetof(struct io_uring_cmd, pdu));
	return ent;
}

/*
 * Whether this is an entry: its queue is one of its ring's. For what a command's pdu holds before fuse has written it,
 * and for functions of whose arguments BTF does not tell.
 */
static inline int ft_is_entry(struct fuse_ring_ent *ent) {
	struct fuse_ring_queue *queue = 0, **queues = 0, *listed = 0;
	struct fuse_ring *ring = 0;
	u32 qid = 0;
	u64 count = 0;
	if (!ent)
		return 0;
	READ(queue, ent->queue);
	if (!queue)
		return 0;
	READ(ring, queue->ring);
	READ(qid, queue->qid);
	if (!ring)
		return 0;
	READ(count, ring->nr_queues);
	READ(queues, ring->queues);
	if (!queues || qid >= count)
		return 0;
	READ(listed, queues[qid]);
	return listed == queue;
}

static inline ft_channel *ft_ring_channel(struct fuse_ring *ring) {
	ft_channel *channel = 0;
#ifdef HAVE_fuse_ring_chan
	READ(channel, ring->chan);
#else
	READ(channel, ring->fc);
#endif
	return channel;
}

static inline u32 ft_ring_connection(struct fuse_ring *ring) {
	ft_channel *channel = ft_ring_channel(ring);
	return channel ? ft_channel_number(channel) : 0;
}

static inline ft_channel *ft_command_channel(struct io_uring_cmd *cmd) {
	struct file *file = 0;
	READ(file, cmd->file);
	return ft_fuse_file_channel(file);
}

static inline struct io_ring_ctx *ft_command_ring(struct io_uring_cmd *cmd) {
	struct io_ring_ctx *ring = 0;
	READ(ring, ((struct io_kiocb *)cmd)->ctx);   /* struct io_uring_cmd lies at the start of the io_kiocb */
	return ring;
}

/* A request that a function works on, and that is shown. */
struct ft_found { struct fuse_req copy; u32 connection, queue; };

static inline int ft_find(struct ft_found *found, struct fuse_req *req, struct fuse_ring_ent *ent) {
	struct fuse_ring_queue *queue = 0;
	if (!req)
		return 0;
	READ_AT(found->copy, req);
	found->connection = ft_channel_number(ft_req_channel(&found->copy));
	if (!ft_connection_wanted(found->connection))
		return 0;
	if (!ft_opcode_wanted(found->copy.in.h.opcode) || !ft_shown(req))
		return 0;
	found->queue = FT_NO_QUEUE;
	if (ent)
		READ(queue, ent->queue);
#ifdef HAVE_fuse_req_ring_queue
	else if (ft_over_uring(found->copy.flags))
		queue = found->copy.ring_queue;
#endif
	if (queue)
		READ(found->queue, queue->qid);
	return ft_queue_wanted(found->queue);
}

static inline struct ft_record *ft_begin_found(u8 kind, struct ft_found *found, struct fuse_ring_ent *ent) {
	struct ft_record *e = ft_begin(kind);
	if (!e)
		return 0;
	ft_fill_request(e, &found->copy);
	e->connection = found->connection;
	e->queue = found->queue;
	e->transport = FT_URING;
	e->entry = (u64)ent;
	return e;
}

/* The same for an entry, of the request that it has. */
static inline int ft_find_of_entry(struct ft_found *found, struct fuse_ring_ent *ent) {
	struct fuse_req *req = 0;
	READ(req, ent->fuse_req);
	return ft_find(found, req, ent);
}

static inline void ft_result(struct ft_record *e, s32 result) {
	e->error = result;
	e->flags |= FT_HAS_ERROR;
}

/* ---- commands ---- */

static inline int ft_ready(ft_channel *channel) {
	struct fuse_ring *ring = 0;
	bool ready = 0;
	READ(ring, channel->ring);
	if (ring)
		READ(ready, ring->ready);
	return ready;
}

static inline void ft_note_unready(ft_channel *channel) {
	u32 connection = ft_channel_number(channel);
	u8 yes = 1;
	if (!ft_ready(channel))
		unready.update(&connection, &yes);
}

/* fuse_uring_cmd() begins: a command was submitted. */
static inline void ft_cmd(struct io_uring_cmd *cmd, u64 issue_flags) {
	struct ft_submission taken;
	ft_channel *channel;

	if (issue_flags & FT_CMD_CANCEL)
		return;
	{
		struct ft_kiocb kiocb;
		READ_AT(kiocb, cmd);
		if (FT_CMD(&kiocb, u32, flags) & FT_CMD_REISSUE)
			return;   /* seen before: a worker tries it again */
		ft_take_submission(&taken, (u64)cmd, &kiocb);
		channel = ft_fuse_file_channel(FT_CMD(&kiocb, struct file *, file));
	}
	if (!channel)
		return;
	if (taken.op == FT_REGISTER_CMD)
		ft_note_unready(channel);
	ft_submitted(&taken, channel);
}

static inline void ft_tell_ready(ft_channel *channel, u32 connection) {
	u8 yes = 1;
	if (!ft_ready(channel) || !unready.lookup(&connection) || told_ready.insert(&connection, &yes))
		return;
	if (FT_OPCODES || FT_CLIENT || FT_QUEUES)
		return;
	struct ft_record *e = ft_begin(FT_READY);
	if (!e)
		return;
	e->connection = connection;
	e->transport = FT_URING;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* All but the few REGISTERs at a server's start are only told as steps inside the kernel. */
static inline int ft_cmd_left_matters(struct io_uring_cmd *cmd) {
	u32 op = 0;
	READ(op, cmd->cmd_op);
	return FT_KERNEL_STEPS || op == FT_REGISTER_CMD;
}

/* fuse_uring_cmd() is through with a command, or gave it back to be tried again. */
static inline void ft_cmd_left(struct io_uring_cmd *cmd, u64 issue_flags, s32 result) {
	u32 op = 0;
	if (issue_flags & FT_CMD_CANCEL)
		return;
	READ(op, cmd->cmd_op);
	int registered = op == FT_REGISTER_CMD && result == FT_QUEUED_BY_IO_URING;
	if (!registered && !FT_KERNEL_STEPS)
		return;
	ft_channel *channel = ft_command_channel(cmd);
	if (!channel)
		return;
	u32 connection = ft_channel_number(channel);
	if (!ft_connection_wanted(connection))
		return;
#if FT_KERNEL_STEPS && !FT_OPCODES && !FT_CLIENT && !FT_QUEUES
	struct ft_record *e = ft_begin(FT_STEP);
	if (e) {
		e->step = FT_STEP_CMD;
		e->connection = connection;
		e->transport = FT_URING;
		e->command = (u64)cmd;
		e->command_op = op;
		ft_result(e, result);
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
#endif
	if (registered)
		ft_tell_ready(channel, connection);
}

/* ---- buffers of a pool ---- */

#if FT_BUFFERS_AT_FUNCTION

#define FT_MOST_WORDS 16                /* of a pool's bitmap: 1024 buffers */

static inline u32 ft_ones(u64 word) {
	word -= word >> 1 & 0x5555555555555555ULL;
	word = (word & 0x3333333333333333ULL) + (word >> 2 & 0x3333333333333333ULL);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return word * 0x0101010101010101ULL >> 56;
}

/* How many buffers the pool has, and how many are free: the ones in its bitmap, which does not change here, for both
 * functions are called with the queue's lock held. */
static inline void ft_count_buffers(struct ft_record *e, struct fuse_ring_queue *queue) {
	struct fuse_bufpool *pool = 0;
	u32 free = 0;
	READ(pool, queue->bufpool);
	if (!pool)
		return;
	READ(e->buffers, pool->nr_bufs);
	#pragma unroll
	for (u32 i = 0; i < FT_MOST_WORDS; i++) {
		u64 word = 0;
		if (i * 64 >= e->buffers)
			break;
		READ(word, pool->free_map[i]);
		free += ft_ones(word);
	}
	e->buffers_free = e->buffers > FT_MOST_WORDS * 64 ? FT_NOT_COUNTED : free;
}

static inline struct fuse_req *ft_request_of_list(struct list_head *node) {
	return (void *)((char *)node - __builtin_offsetof(struct fuse_req, list));
}

/*
 * The request for which the kernel wants a buffer: the one that this thread is about to queue, which is in no list yet;
 * else the first of the queue (fs/fuse/dev_uring.c: fuse_uring_queue_fuse_req, fuse_uring_queue_bq_req,
 * fuse_uring_ent_assign_req).
 */
static inline struct fuse_req *ft_considered(struct fuse_ring_queue *queue) {
	u32 tid = bpf_get_current_pid_tgid();
	struct list_head *head = &queue->fuse_req_queue, *first = 0;
	struct ft_queued *queued = queueing.lookup(&tid);
	if (queued) {
		struct fuse_req *req = (void *)queued->req;
		struct list_head *node = (void *)((char *)req + __builtin_offsetof(struct fuse_req, list)), *next = 0;
		u64 unique = 0, flags = 0;
		READ(unique, req->in.h.unique);
		READ(flags, req->flags);
		READ(next, node->next);
		if (unique == queued->unique && next == node && flags >> FR_PENDING & 1)
			return req;
	}
	READ(first, head->next);
	return first == head ? 0 : ft_request_of_list(first);
}

/* fuse_uring_select_buffer() found a buffer for an entry, or -ENOBUFS: then the request waits. */
static inline void ft_select_buffer_left(struct fuse_ring_ent *ent, s32 result) {
	struct ft_found found;
	struct fuse_ring_queue *queue = 0;
	u64 key = (u64)ent;
	struct ft_owner owner = {};

	READ(queue, ent->queue);
	if (!ft_find(&found, ft_considered(queue), ent)) {
		ft_holds_no_more(ent);
		return;
	}
	struct ft_record *e = ft_begin_found(FT_SELECTED, &found, ent);
	if (!e)
		return;
	ft_result(e, result);
	ft_read_payload(e, ent);
	ft_count_buffers(e, queue);
	e->flags |= ft_args_flags(found.copy.args);
	if (!result) {
		ft_own(&owner, e);
		holders.update(&key, &owner);
	}
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* fuse_uring_recycle_buffer() begins: the buffer, if there is one, is still the entry's. */
static inline void ft_recycle_buffer(struct fuse_ring_ent *ent) {
	struct fuse_ring_queue *queue = 0;
	struct fuse_bufpool *pool = 0;
	struct fuse_ring *ring = 0;
	u64 key = (u64)ent, base = 0;
	u32 qid = FT_NO_QUEUE;

	READ_AT(base, (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	READ(queue, ent->queue);
	if (!base || !queue)
		return;
	READ(pool, queue->bufpool);
	if (!pool)
		return;
	READ(ring, queue->ring);
	READ(qid, queue->qid);
	u32 connection = ft_ring_connection(ring);
	struct ft_owner *owner = holders.lookup(&key);
	if (!ft_connection_wanted(connection) || !ft_queue_wanted(qid) || (!owner && (FT_OPCODES || FT_CLIENT)))
		return;
	struct ft_record *e = ft_begin(FT_RECYCLED);
	if (!e)
		return;
	if (owner)
		ft_fill_owner(e, owner);
	e->connection = connection;
	e->queue = qid;
	e->entry = key;
	e->transport = FT_URING;
	ft_read_payload(e, ent);
	ft_count_buffers(e, queue);
	if (e->buffers_free != FT_NOT_COUNTED)
		e->buffers_free += 1;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	holders.delete(&key);
}

#endif

/* ---- pages in slots ---- */

#if FT_PAGES_AT_FUNCTION

#define FT_BUF_DEST 1                   /* enum io_buffer_dir, include/linux/io_uring/cmd.h: 1 << ITER_DEST */
#define FT_BUF_SOURCE 2

/* io_buffer_register_bvec() put a request's pages into a slot, or failed to; ublk's calls are left out. */
static inline void ft_register_bvec_left(struct io_uring_cmd *cmd, u32 segments, u64 priv, u8 direction, u32 index,
					 s32 result) {
	struct ft_found found;
	struct ft_owner owner = {};

	if (!ft_command_channel(cmd))
		return;
	struct fuse_ring_ent *ent = ft_entry_of(cmd);
	if (!ent || !ft_find_of_entry(&found, ent))
		return;
	struct ft_record *e = ft_begin_found(FT_PAGES_REGISTERED, &found, ent);
	if (!e)
		return;
	ft_result(e, result);
	ft_read_payload(e, ent);
	e->command = (u64)cmd;
	e->slot = index;
	e->segments = segments;
	e->flags |= FT_HAS_SLOT | ft_args_flags(found.copy.args);
	if (direction & FT_BUF_SOURCE)
		e->flags |= FT_PAGES_READABLE;
	if (direction & FT_BUF_DEST)
		e->flags |= FT_PAGES_WRITABLE;
	struct io_ring_ctx *ring = ft_command_ring(cmd);
	struct io_mapped_ubuf *mapped = result ? 0 : ft_registered(ring, index);
	if (mapped) {
		u64 bytes = 0;
		READ(bytes, mapped->len);
		e->length = bytes;
		ft_owns_slot(e, ring, priv);
	} else {
		ft_own(&owner, e);
		pages.update(&priv, &owner);   /* fuse_zero_copy_release() is called for them all the same */
	}
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* io_buffer_unregister() emptied a slot, or failed to; the request's end is under way, its entry has let go of it. */
static inline void ft_unregister_left(struct io_uring_cmd *cmd, u32 index, s32 result) {
	ft_channel *channel = ft_command_channel(cmd);
	if (!channel)
		return;
	u32 connection = ft_channel_number(channel);
	struct ft_slot slot = { (u64)ft_command_ring(cmd), index };
	struct ft_owner *owner = slot_owners.lookup(&slot);
	if (!ft_connection_wanted(connection))
		return;
	if (!owner && (FT_OPCODES || FT_CLIENT || FT_QUEUES))
		return;
	struct ft_record *e = ft_begin(FT_PAGES_UNREGISTERED);
	if (!e)
		return;
	if (owner) {
		ft_fill_owner(e, owner);
		owner->unique = 0;
	} else {
		e->connection = connection;
		e->transport = FT_URING;
		e->entry = (u64)ft_entry_of(cmd);
	}
	ft_result(e, result);
	e->command = (u64)cmd;
	e->slot = index;
	e->flags |= FT_HAS_SLOT;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* fuse_zero_copy_release(): nobody uses the pages any more. */
static inline void ft_zero_copy_release(u64 priv) {
	struct ft_owner *owner = pages.lookup(&priv);
	if (!owner || !ft_connection_wanted(owner->connection))
		return;
	struct ft_record *e = ft_begin(FT_PAGES_RELEASED);
	if (!e)
		return;
	ft_fill_owner(e, owner);
	e->slot = owner->slot;
	e->flags |= FT_HAS_SLOT;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	pages.delete(&priv);
}

#endif

/* ---- steps inside the kernel ---- */

#if FT_KERNEL_STEPS

/* COPIED and RETURNED: the function came back with `result`. */
static inline void ft_done(u8 kind, struct fuse_ring_ent *ent, struct fuse_req *req, s32 result) {
	struct ft_found found;
	if (!ft_find(&found, req, ent))
		return;
	struct ft_record *e = ft_begin_found(kind, &found, ent);
	if (!e)
		return;
	ft_read_payload(e, ent);
	ft_result(e, result);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static inline struct ft_record *ft_begin_step(u16 step, struct ft_found *found, struct fuse_ring_ent *ent) {
	struct ft_record *e = ft_begin_found(FT_STEP, found, ent);
	if (e)
		e->step = step;
	return e;
}

static inline void ft_step(u16 step, struct fuse_ring_ent *ent, struct fuse_req *req) {
	struct ft_found found;
	if (!ft_find(&found, req, ent))
		return;
	struct ft_record *e = ft_begin_step(step, &found, ent);
	if (e)
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* With what the function was told, or what it returned. */
static inline void ft_step_result(u16 step, struct fuse_ring_ent *ent, struct fuse_req *req, s32 result) {
	struct ft_found found;
	if (!ft_find(&found, req, ent))
		return;
	struct ft_record *e = ft_begin_step(step, &found, ent);
	if (!e)
		return;
	ft_result(e, result);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* Of a function that is told an entry alone: of the request that the entry has, or of the entry if it has none. */
static inline struct ft_record *ft_begin_step_of_entry(u16 step, struct fuse_ring_ent *ent) {
	struct ft_found found;
	struct fuse_ring_queue *queue = 0;
	struct fuse_ring *ring = 0;
	struct fuse_req *req = 0;
	u32 qid = FT_NO_QUEUE;

	if (!ft_is_entry(ent))
		return 0;
	READ(req, ent->fuse_req);
	if (req)
		return ft_find(&found, req, ent) ? ft_begin_step(step, &found, ent) : 0;
	READ(queue, ent->queue);
	READ(ring, queue->ring);
	READ(qid, queue->qid);
	u32 connection = ft_ring_connection(ring);
	if (FT_OPCODES || FT_CLIENT || !ft_queue_wanted(qid) || !ft_connection_wanted(connection))
		return 0;
	struct ft_record *e = ft_begin(FT_STEP);
	if (!e)
		return 0;
	e->step = step;
	e->connection = connection;
	e->queue = qid;
	e->entry = (u64)ent;
	e->transport = FT_URING;
	return e;
}

static inline void ft_step_of_entry(u16 step, struct fuse_ring_ent *ent) {
	struct ft_record *e = ft_begin_step_of_entry(step, ent);
	if (e)
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* copy_header_to_ring(): which of the three headers, enum fuse_uring_header_type. */
static inline void ft_header_left(struct fuse_ring_ent *ent, u32 which, s32 result) {
	struct ft_record *e = ft_begin_step_of_entry(FT_STEP_COPY_HEADER_TO_RING, ent);
	if (!e)
		return;
	e->command_op = which;
	ft_result(e, result);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* __io_uring_cmd_done(): a CQE with `result` is on its way; commands of other files than /dev/fuse are left out. */
static inline void ft_cmd_done(struct io_uring_cmd *cmd, s32 result) {
	if (!ft_command_channel(cmd))
		return;
	struct ft_record *e = ft_begin_step_of_entry(FT_STEP_CMD_DONE, ft_entry_of(cmd));
	if (!e)
		return;
	e->command = (u64)cmd;
	READ(e->command_op, cmd->cmd_op);
	ft_result(e, result);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* fuse_uring_send_in_task(), fuse_uring_commit_fetch(): by the command. */
static inline void ft_step_of_command(u16 step, struct io_uring_cmd *cmd) {
	if (ft_command_channel(cmd))
		ft_step_of_entry(step, ft_entry_of(cmd));
}

static inline void ft_step_of_ring(u16 step, struct fuse_ring *ring) {
	u32 connection = ft_ring_connection(ring);
	if (FT_OPCODES || FT_CLIENT || FT_QUEUES || !ft_connection_wanted(connection))
		return;
	struct ft_record *e = ft_begin(FT_STEP);
	if (!e)
		return;
	e->step = step;
	e->connection = connection;
	e->transport = FT_URING;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#endif

#endif
