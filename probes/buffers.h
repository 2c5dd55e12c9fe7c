/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Whose a payload buffer of a pool is, and whose the pages in a slot of the server's registered buffers are; and the
 * server's own I/O on such a slot. After ring.h.
 *
 *   FT_HAS_SLOTS             1: this kernel registers a request's pages in a slot
 *   FT_ZERO_COPY_RELEASE     address of fuse_zero_copy_release()
 *   FT_BUFFERS_AT_FUNCTION   1: that a buffer is selected and recycled is seen
 */

#if FT_HAS_URING

/* A request that has, or was the last to have, a buffer or pages. `unique` is 0 once it has them no more. */
struct ft_owner { u64 unique, node_id, entry; u32 connection, queue, opcode, slot; };

static inline void ft_own(struct ft_owner *owner, struct ft_record *e) {
	owner->unique = e->unique;
	owner->node_id = e->node_id;
	owner->entry = e->entry;
	owner->connection = e->connection;
	owner->queue = e->queue;
	owner->opcode = e->opcode;
	owner->slot = e->slot;
}

static inline void ft_fill_owner(struct ft_record *e, struct ft_owner *owner) {
	e->unique = owner->unique;
	e->node_id = owner->node_id;
	e->entry = owner->entry;
	e->connection = owner->connection;
	e->queue = owner->queue;
	e->opcode = owner->opcode;
	e->transport = FT_URING;
}

#if FT_BUFFERS_AT_FUNCTION

/* By entry: the request that its buffer was last for. An entry may keep a buffer from one request to the next. */
BPF_TABLE("lru_hash", u64, struct ft_owner, holders, 16384);

/* By thread: the request that it is about to queue, which fuse_uring_select_buffer() is not told. */
struct ft_queued { u64 req, unique; };
BPF_TABLE("lru_hash", u32, struct ft_queued, queueing, 4096);

static inline void ft_queues(ft_channel *channel, struct fuse_req *req, u64 unique, u64 sender) {
	u32 tid = bpf_get_current_pid_tgid();
	struct fuse_ring_queue *queue = 0;
	struct fuse_bufpool *pool = 0;
	struct ft_queued queued = { (u64)req, unique };

	if (sender != FT_SEND_URING)
		return;
	queue = ft_ring_queue(channel, bpf_get_smp_processor_id());
	if (queue)
		READ(pool, queue->bufpool);
	if (pool)
		queueing.update(&tid, &queued);
}

#endif

/* An entry went to the server with a request that no one wants to see: what becomes of its buffer is not shown either. */
static inline void ft_holds_no_more(struct fuse_ring_ent *ent) {
#if FT_BUFFERS_AT_FUNCTION && (FT_CLIENT || FT_OPCODES)
	u64 key = (u64)ent;
	holders.delete(&key);
#endif
}

#if FT_HAS_SLOTS

/* By io_mapped_ubuf.priv, which fuse makes anew for each request: whose pages they are. */
BPF_TABLE("lru_hash", u64, struct ft_owner, pages, 16384);

/* By place: who had a slot last. */
struct ft_slot { u64 ring, index; };
BPF_TABLE("lru_hash", struct ft_slot, struct ft_owner, slot_owners, 16384);

/* The pages that are registered in a slot, as io_mapped_ubuf; 0: none. */
static inline struct io_mapped_ubuf *ft_registered(struct io_ring_ctx *ring, u32 index) {
	struct io_rsrc_node **nodes = 0, *node = 0;
	struct io_mapped_ubuf *pages_there = 0;
	u32 count = 0;
	READ(count, ring->buf_table.nr);
	READ(nodes, ring->buf_table.nodes);
	if (index >= count || !nodes)
		return 0;
	READ(node, nodes[index]);
	if (node)
		READ(pages_there, node->buf);
	return pages_there;
}

static inline int ft_of_fuse(struct io_mapped_ubuf *mapped) {
	void *release = 0;
	READ(release, mapped->release);
	return (u64)release == FT_ZERO_COPY_RELEASE;
}

static inline void ft_owns_slot(struct ft_record *e, struct io_ring_ctx *ring, u64 priv) {
	struct ft_slot slot = { (u64)ring, e->slot };
	struct ft_owner owner = {};
	ft_own(&owner, e);
	pages.update(&priv, &owner);
	slot_owners.update(&slot, &owner);
}

static inline int ft_is_fixed_io(u8 opcode) {
#ifdef HAVE_IORING_OP_READV_FIXED
	if (opcode == IORING_OP_READV_FIXED || opcode == IORING_OP_WRITEV_FIXED)
		return 1;
#endif
	return opcode == IORING_OP_READ_FIXED || opcode == IORING_OP_WRITE_FIXED;
}

/*
 * Whose pages an I/O was on. It holds them itself as long as it lasts, whatever has become of the slot. One that failed
 * may have found no pages, and then its buf_node is an older one's; it counts only if it still is in the slot.
 */
static inline struct ft_owner *ft_owner_of_io(struct io_kiocb *req, struct io_ring_ctx *ring, u32 index, s32 result) {
	struct io_rsrc_node *node = 0;
	struct io_mapped_ubuf *mapped = 0;
	u64 priv = 0;
	READ(node, req->buf_node);
	if (!node)
		return 0;
	READ(mapped, node->buf);
	if (!mapped || !ft_of_fuse(mapped) || (result < 0 && mapped != ft_registered(ring, index)))
		return 0;
	READ(priv, mapped->priv);
	return pages.lookup(&priv);
}

/* The server's own I/O on a slot has ended. Of other I/O on registered buffers nothing is known here but the slot. */
static inline void ft_fixed_io(struct io_kiocb *req, struct ft_kiocb *kiocb, s32 result) {
	struct ft_slot slot = { FT_KIOCB(kiocb, u64, ctx), 0 };
	u16 index = 0;
	u8 opcode = FT_KIOCB(kiocb, u8, opcode);

	READ(index, req->buf_index);
	slot.index = index;
	struct ft_owner *last = slot_owners.lookup(&slot);
	if (!last || !ft_connection_wanted(last->connection))
		return;
	struct ft_owner *owner = ft_owner_of_io(req, (struct io_ring_ctx *)slot.ring, index, result);
	/* With pages of nobody's it is something else's I/O; or that of a request that is not shown. */
	if (!owner && (result >= 0 || FT_OPCODES || FT_CLIENT))
		return;
	struct ft_record *e = ft_begin(FT_FIXED_IO);
	if (!e)
		return;
	ft_fill_owner(e, owner ? owner : last);
	if (!owner)
		e->unique = e->opcode = e->node_id = 0;
	e->slot = index;
	e->command_op = opcode;
	e->command = (u64)req;
	e->user_data = FT_KIOCB(kiocb, u64, cqe.user_data);
	e->error = result < 0 ? result : 0;
	e->length = result < 0 ? 0 : result;
	e->flags |= FT_HAS_SLOT | FT_HAS_ERROR;
#ifdef HAVE_io_rw_addr
	if (opcode == IORING_OP_READ_FIXED || opcode == IORING_OP_WRITE_FIXED) {
		struct io_rw *io = (void *)req;
		u64 address = 0;
		READ(address, io->addr);   /* pages in a slot begin at address 0 */
		READ(e->payload_size, io->len);
		e->pool_offset = address;
	}
#endif
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#endif

/* DELIVERED: the request has what its entry has. */
static inline void ft_now_holds(struct ft_record *e, struct fuse_ring_ent *ent, struct io_ring_ctx *ring) {
#if FT_BUFFERS_AT_FUNCTION
	u64 key = (u64)ent;
	struct ft_owner owner = {};
	if (e->flags & FT_HAS_BUFFER) {
		ft_own(&owner, e);
		holders.update(&key, &owner);
	}
#endif
#if FT_HAS_SLOTS && !FT_PAGES_AT_FUNCTION
	u64 priv = 0;
	if (!(e->flags & FT_HAS_SLOT))
		return;
	struct io_mapped_ubuf *mapped = ft_registered(ring, e->slot);
	if (!mapped || !ft_of_fuse(mapped))
		return;
	READ(priv, mapped->priv);
	ft_owns_slot(e, ring, priv);
#endif
}

#endif
