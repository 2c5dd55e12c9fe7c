// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF iterator over the open files of all tasks that walks from each /dev/fuse to its connection, its ring, queues,
 * entries and requests. It takes no lock and stops nothing. What changes while it walks it can tell: each node has to
 * point back to where the walk came from, an entry to its queue, a request to its connection; where one does not, the
 * list is marked as changed, and the rest of it left out.
 *
 * Rows go to a map that the reader has in its memory: what a seq_file takes of one file is 32 KiB at most, and a list
 * of requests may be longer than any of that.
 *
 *   FT_ROWS       rows that there is room for
 *   FT_BITS_AT, FT_BITS_SIZE   the bytes of fuse_conn in which its bit fields are
 *   FT_NUM_*      numbers of ours, which the loader takes for the kernel's bpf_iter_num_new() and so on: loops whose
 *                 length the verifier does not have to see
 */

#define FT_BUCKETS 256       /* FUSE_PQ_HASH_SIZE (fs/fuse/fuse_dev_i.h) */
#define FT_MOST_NODES 8000000
#define FT_MOST_QUEUES 65536
#define FT_BITMAP_WORDS 8

enum ft_row_kind { FT_ROW_SERVER = 1, FT_ROW_CONNECTION, FT_ROW_QUEUE, FT_ROW_BITMAP, FT_ROW_LIST, FT_ROW_ENTRY, FT_ROW_REQUEST,
	FT_ROW_BITS };

/* Lists of entries come first; the numbers are those of furtrace/model/snapshot.py. */
enum ft_list {
	FT_LIST_AVAILABLE, FT_LIST_WITH_REQUEST, FT_LIST_COMMIT, FT_LIST_USERSPACE, FT_LIST_RELEASED,
	FT_LIST_QUEUED, FT_LIST_QUEUED_BACKGROUND,
	FT_LIST_PENDING, FT_LIST_BACKGROUND, FT_LIST_PROCESSING, FT_LIST_IO,
};

#define FT_IS_CONNECTED 1
#define FT_IS_INITIALIZED 2
#define FT_IS_BLOCKED 4
#define FT_IS_ABORTED 8
#define FT_WANTS_URING 16
#define FT_HAS_RING 32
#define FT_IS_READY 64
#define FT_SENDS_URING 128

#define FT_IS_STOPPED 1
#define FT_IS_ZERO_COPY 2
#define FT_HAS_POOL 4
#define FT_IS_REGISTERED 8

#define FT_IS_ZERO_COPIED 1
#define FT_HAS_REQUEST 2
#define FT_HAS_THREAD 4
#define FT_THREAD_ENDED 8
#define FT_PF_EXITING 4   /* PF_EXITING (include/linux/sched.h) */
#define FT_IS_TORN 1

struct ft_row {
	u8 kind, list;
	u16 state;
	u32 connection;
	u32 queue;
	u32 flags;
	u64 address;
	u64 value[12];
};

BPF_F_TABLE("array", u32, struct ft_row, rows, FT_ROWS, 1024);   /* BPF_F_MMAPABLE */
BPF_ARRAY(row_count, u32, 1);
BPF_HASH(walked, u64, u8, 65536);

static inline int ft_num_new(u64 *loop, int start, int end) {
	return ((int (*)(u64 *, int, int))FT_NUM_NEW)(loop, start, end);
}

static inline int *ft_num_next(u64 *loop) {
	return ((int *(*)(u64 *))FT_NUM_NEXT)(loop);
}

static inline void ft_num_destroy(u64 *loop) {
	((void (*)(u64 *))FT_NUM_DESTROY)(loop);
}

/* Room for the next row; past the end they are only counted, so that the reader knows how many there would be. */
static inline struct ft_row *ft_new_row(u8 kind, u32 connection, u32 queue) {
	int zero = 0;
	u32 *count = row_count.lookup(&zero);
	if (!count)
		return 0;
	u32 at = *count;
	*count = at + 1;
	struct ft_row *row = rows.lookup(&at);
	if (!row)
		return 0;
	__builtin_memset(row, 0, sizeof(*row));
	row->kind = kind;
	row->connection = connection;
	row->queue = queue;
	return row;
}

/* Whether something at this address is seen for the first time. */
static inline int ft_first(u64 address) {
	u8 yes = 1;
	if (walked.lookup(&address))
		return 0;
	walked.update(&address, &yes);
	return 1;
}

/* What is known of a request, from value[at] on: unique, node id, opcode and length, pid and uid, create_time. */
static inline void ft_row_request(struct ft_row *row, struct fuse_req *req, int at) {
	struct fuse_req copy;
	READ_AT(copy, req);
	row->value[at] = copy.in.h.unique;
	row->value[at + 1] = copy.in.h.nodeid;
	row->value[at + 2] = copy.in.h.opcode | (u64)copy.in.h.len << 32;
	row->value[at + 3] = copy.in.h.pid | (u64)copy.in.h.uid << 32;
#ifdef HAVE_fuse_req_create_time
	row->value[at + 4] = copy.create_time;
#endif
	row->value[at + 5] = copy.flags;
}

static inline int ft_is_of(struct fuse_req *req, ft_channel *channel) {
	struct fuse_req copy;
	READ_AT(copy, req);
	return ft_req_channel(&copy) == channel;
}

#if FT_HAS_URING
/* The thread whose io_uring brings requests to an entry that waits for one, or for its task's work. */
static inline void ft_row_thread(struct ft_row *row, struct io_kiocb *cmd) {
#ifdef HAVE_io_kiocb_tctx
	char *context = 0, *task = 0;
	u32 pid = 0, flags = 0, exit_state = 0;

	READ(context, cmd->tctx);
	if (!context || bpf_probe_read_kernel(&task, sizeof(task), context + OFFSET_io_uring_task_task) || !task)
		return;
	if (bpf_probe_read_kernel(&pid, sizeof(pid), task + OFFSET_task_struct_pid))
		return;
	bpf_probe_read_kernel(&flags, sizeof(flags), task + OFFSET_task_struct_flags);
	bpf_probe_read_kernel(&exit_state, sizeof(exit_state), task + OFFSET_task_struct_exit_state);
	row->flags |= FT_HAS_THREAD | (exit_state || flags & FT_PF_EXITING ? FT_THREAD_ENDED : 0);
	row->value[11] = pid;
#endif
}
#endif

/* Returns whether its request is of another connection: it has ended, and its memory is another's by now. */
static inline int ft_entry_row(struct fuse_ring_ent *ent, ft_channel *channel, u32 connection, u32 queue, u8 list) {
#if FT_HAS_URING
	struct ft_row *row = ft_new_row(FT_ROW_ENTRY, connection, queue);
	if (!row)
		return 0;
	struct fuse_req *req = 0;
	u64 payload[2] = {};
	u32 state = 0;
	row->list = list;
	row->address = (u64)ent;
	READ(state, ent->state);
	row->state = state;
	READ(row->value[0], ent->headers);
	if (sizeof(ent->payload) == sizeof(payload))
		bpf_probe_read_kernel(payload, sizeof(payload), (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	else
		bpf_probe_read_kernel(payload, sizeof(u64), (char *)ent + __builtin_offsetof(struct fuse_ring_ent, payload));
	row->value[1] = payload[0];
	row->value[2] = payload[1];
#ifdef HAVE_fuse_ring_ent_buf_id
	u32 buffer = 0;
	READ(buffer, ent->buf_id);
	row->value[3] = buffer;
#endif
#ifdef HAVE_fuse_ring_ent_zero_copied
	bool zero_copied = 0;
	u32 slot = 0;
	READ(zero_copied, ent->zero_copied);
	READ(slot, ent->zero_copy_index);
	row->value[3] |= (u64)slot << 32;
	row->flags |= zero_copied ? FT_IS_ZERO_COPIED : 0;
#endif
	READ(row->value[4], ent->cmd);
	/* Once its request is sent an entry has no command, nor is what stands there still one. */
	if (row->value[4] && (list == FT_LIST_AVAILABLE || list == FT_LIST_WITH_REQUEST))
		ft_row_thread(row, (struct io_kiocb *)row->value[4]);
	READ(req, ent->fuse_req);
	/* Where an entry is idle the pointer may be that of a request that is gone. */
	if (req && list != FT_LIST_AVAILABLE && list != FT_LIST_RELEASED) {
		if (!ft_is_of(req, channel))
			return 1;
		row->flags |= FT_HAS_REQUEST;
		ft_row_request(row, req, 5);
	}
#endif
	return 0;
}

static inline void ft_list_row(u32 connection, u32 queue, u8 list, u32 length, int torn) {
	struct ft_row *row = ft_new_row(FT_ROW_LIST, connection, queue);
	if (!row)
		return;
	row->list = list;
	row->flags = torn ? FT_IS_TORN : 0;
	row->value[0] = length;
}

/* A list of requests; how many there were, with FT_TORN if it changed meanwhile. */
#define FT_TORN (1ULL << 63)
static inline u64 ft_walk_requests(struct list_head *head, ft_channel *channel, u32 connection, u32 queue, u8 list) {
	struct list_head *at = 0, *before = head, *back = 0;
	u64 loop = 0, length = 0;

	READ(at, head->next);
	ft_num_new(&loop, 0, FT_MOST_NODES);
	while (ft_num_next(&loop)) {
		if (at == head || !at)
			break;
		struct fuse_req *req = (void *)((char *)at - __builtin_offsetof(struct fuse_req, list));
		READ(back, at->prev);
		if (back != before || !ft_is_of(req, channel)) {
			length |= FT_TORN;
			break;
		}
		struct ft_row *row = ft_new_row(FT_ROW_REQUEST, connection, queue);
		if (row) {
			row->list = list;
			row->address = (u64)req;
			ft_row_request(row, req, 0);
		}
		length++;
		before = at;
		READ(at, at->next);
	}
	ft_num_destroy(&loop);
	return length;
}

static inline void ft_request_list(struct list_head *head, ft_channel *channel, u32 connection, u32 queue, u8 list) {
	u64 length = ft_walk_requests(head, channel, connection, queue, list);
	ft_list_row(connection, queue, list, length, !!(length & FT_TORN));
}

/* Two lists of requests, so far from where; the first is `list`, and the second the one after it. */
static inline void ft_request_lists(char *base, volatile u32 *heads, ft_channel *channel, u32 connection, u32 queue,
				    u8 list) {
	u64 loop = 0;
	int *each;
	ft_num_new(&loop, 0, 2);
	while ((each = ft_num_next(&loop))) {
		u32 at = *each;
		if (at < 2)
			ft_request_list((void *)(base + heads[at]), channel, connection, queue, list + at);
	}
	ft_num_destroy(&loop);
}

/* Requests that the server has, by /dev/fuse: a hash table of lists. */
static inline void ft_processing(struct list_head *buckets, ft_channel *channel, u32 connection) {
	u64 loop = 0, length = 0, torn = 0;
	int *at;
	ft_num_new(&loop, 0, FT_BUCKETS);
	while (buckets && (at = ft_num_next(&loop))) {
		u64 found = ft_walk_requests(buckets + *at, channel, connection, FT_NO_QUEUE, FT_LIST_PROCESSING);
		torn |= found & FT_TORN;
		length += found & ~FT_TORN;
	}
	ft_num_destroy(&loop);
	ft_list_row(connection, FT_NO_QUEUE, FT_LIST_PROCESSING, length, !!torn);
}

#if FT_HAS_URING
static inline void ft_entry_list(struct list_head *head, struct fuse_ring_queue *queue, ft_channel *channel,
				 u32 connection, u32 qid, u8 list) {
	struct list_head *at = 0, *before = head, *back = 0;
	u64 loop = 0;
	u32 length = 0;
	int torn = 0;

	READ(at, head->next);
	ft_num_new(&loop, 0, FT_MOST_NODES);
	while (ft_num_next(&loop)) {
		if (at == head || !at)
			break;
		struct fuse_ring_ent *ent = (void *)((char *)at - __builtin_offsetof(struct fuse_ring_ent, list));
		struct fuse_ring_queue *owner = 0;
		READ(back, at->prev);
		READ(owner, ent->queue);
		if (back != before || owner != queue) {
			torn = 1;
			break;
		}
		torn |= ft_entry_row(ent, channel, connection, qid, list);
		length++;
		before = at;
		READ(at, at->next);
	}
	ft_num_destroy(&loop);
	ft_list_row(connection, qid, list, length, torn);
}

#ifdef HAVE_fuse_ring_queue_ent_released
#define FT_LISTS_OF_ENTRIES (FT_LIST_RELEASED + 1)
#else
#define FT_LISTS_OF_ENTRIES (FT_LIST_USERSPACE + 1)
#endif

/*
 * All lists of entries. The walk stands here once for all of them: what is written out for each, the compiler and the
 * verifier go through again for each, and the user waits for both. An array with an initializer would be put where bcc
 * loads nothing.
 */
static inline void ft_entry_lists(struct fuse_ring_queue *queue, ft_channel *channel, u32 connection, u32 qid) {
	volatile u32 heads[FT_LISTS_OF_ENTRIES];
	heads[FT_LIST_AVAILABLE] = __builtin_offsetof(struct fuse_ring_queue, ent_avail_queue);
	heads[FT_LIST_WITH_REQUEST] = __builtin_offsetof(struct fuse_ring_queue, ent_w_req_queue);
	heads[FT_LIST_COMMIT] = __builtin_offsetof(struct fuse_ring_queue, ent_commit_queue);
	heads[FT_LIST_USERSPACE] = __builtin_offsetof(struct fuse_ring_queue, ent_in_userspace);
#ifdef HAVE_fuse_ring_queue_ent_released
	heads[FT_LIST_RELEASED] = __builtin_offsetof(struct fuse_ring_queue, ent_released);
#endif
	u64 loop = 0;
	int *list;
	ft_num_new(&loop, 0, FT_LISTS_OF_ENTRIES);
	while ((list = ft_num_next(&loop))) {
		u32 at = *list;
		if (at < FT_LISTS_OF_ENTRIES)
			ft_entry_list((void *)((char *)queue + heads[at]), queue, channel, connection, qid, at);
	}
	ft_num_destroy(&loop);
}

#ifdef HAVE_fuse_ring_queue_bufpool
/* The pool of a queue, and which of its buffers are free. */
static inline void ft_pool(struct ft_row *row, struct fuse_ring_queue *queue, u32 connection, u32 qid) {
	struct fuse_bufpool *pool = 0;
	bool registered = 0;
	u16 index = 0;
	u32 buffers = 0;
	u64 loop = 0;
	int *at;

	READ(pool, queue->bufpool);
	if (!pool)
		return;
	READ(registered, pool->registered);
	READ(index, pool->registered_index);
	READ(buffers, pool->nr_bufs);
	if (row) {
		row->flags |= FT_HAS_POOL | (registered ? FT_IS_REGISTERED : 0);
		READ(row->value[1], pool->base_uaddr);
		READ(row->value[2], pool->buf_size);
		row->value[3] = buffers;
		row->value[4] = index;
	}
	u32 words = (buffers + 63) / 64;
	ft_num_new(&loop, 0, FT_MOST_QUEUES);
	while ((at = ft_num_next(&loop))) {
		u32 first = *at * FT_BITMAP_WORDS;
		if (first >= words)
			break;
		struct ft_row *map = ft_new_row(FT_ROW_BITMAP, connection, qid);
		if (!map)
			continue;
		map->value[0] = first;
		bpf_probe_read_kernel(&map->value[1], FT_BITMAP_WORDS * sizeof(u64),
			(char *)pool + __builtin_offsetof(struct fuse_bufpool, free_map) + (u64)first * 8);
	}
	ft_num_destroy(&loop);
}
#endif

static inline void ft_queue_row(struct fuse_ring_queue *queue, u32 connection, u32 qid) {
	struct ft_row *row = ft_new_row(FT_ROW_QUEUE, connection, qid);
	bool stopped = 0;
	u32 background = 0;

	READ(stopped, queue->stopped);
	READ(background, queue->active_background);
	if (row) {
		row->address = (u64)queue;
		row->flags = stopped ? FT_IS_STOPPED : 0;
		row->value[0] = background;
	}
#ifdef HAVE_fuse_ring_queue_zero_copy
	bool zero_copy = 0;
	READ(zero_copy, queue->zero_copy);
	if (row && zero_copy)
		row->flags |= FT_IS_ZERO_COPY;
#endif
#ifdef HAVE_fuse_ring_queue_payload_mode
	u32 mode = 0;
	READ(mode, queue->payload_mode);
	if (row)
		row->state = mode;
#endif
#ifdef HAVE_fuse_ring_queue_bufpool
	ft_pool(row, queue, connection, qid);
#endif
}

static inline void ft_queue(struct fuse_ring_queue *queue, ft_channel *channel, u32 connection, u32 qid) {
	ft_queue_row(queue, connection, qid);
	ft_entry_lists(queue, channel, connection, qid);
	volatile u32 heads[2];
	heads[0] = __builtin_offsetof(struct fuse_ring_queue, fuse_req_queue);
	heads[1] = __builtin_offsetof(struct fuse_ring_queue, fuse_req_bg_queue);
	ft_request_lists((char *)queue, heads, channel, connection, qid, FT_LIST_QUEUED);
}

static inline void ft_ring(struct fuse_ring *ring, struct ft_row *row, ft_channel *channel, u32 connection) {
	struct fuse_ring_queue **queues = 0, *queue = 0;
	bool ready = 0;
	u64 count = 0, loop = 0;
	u32 references = 0;
	int *at;

	READ(ready, ring->ready);
	READ(count, ring->nr_queues);
	READ(references, ring->queue_refs.counter);
	READ(queues, ring->queues);
	if (row) {
		row->flags |= FT_HAS_RING | (ready ? FT_IS_READY : 0);
		row->value[6] = (u32)count | (u64)references << 32;
		READ(row->value[7], ring->max_payload_sz);
	}
	ft_num_new(&loop, 0, FT_MOST_QUEUES);
	while ((at = ft_num_next(&loop))) {
		u32 qid = *at;
		if (qid >= count || !queues)
			break;
		READ_AT(queue, queues + qid);
		if (queue)
			ft_queue(queue, channel, connection, qid);
	}
	ft_num_destroy(&loop);
}
#endif

static inline void ft_connection(ft_channel *channel, u32 connection) {
	struct ft_row *row = ft_new_row(FT_ROW_CONNECTION, connection, FT_NO_QUEUE);
	u32 connected = 0, initialized = 0, blocked = 0;

	READ(connected, channel->connected);
	READ(initialized, channel->initialized);
	READ(blocked, channel->blocked);
	if (row) {
		u32 low = 0, high = 0;
		row->address = (u64)channel;
		row->flags = (connected ? FT_IS_CONNECTED : 0) | (initialized ? FT_IS_INITIALIZED : 0) |
			(blocked ? FT_IS_BLOCKED : 0);
#ifdef HAVE_fuse_conn_aborted
		bool aborted = 0;
		READ(aborted, channel->aborted);
		row->flags |= aborted ? FT_IS_ABORTED : 0;
#endif
#ifdef HAVE_fuse_chan_abort_with_err
		bool abort_with_err = 0;
		READ(abort_with_err, channel->abort_with_err);
		row->flags |= abort_with_err ? FT_IS_ABORTED : 0;
#endif
#ifdef FT_HAVE_IO_URING_MEMBER
		u32 wanted = 0;
		READ(wanted, channel->io_uring);
		row->flags |= wanted ? FT_WANTS_URING : 0;
#endif
		if (FT_SEND_URING && ft_channel_sender(channel) == FT_SEND_URING)
			row->flags |= FT_SENDS_URING;
		READ(low, channel->max_write);
		READ(high, channel->max_pages);
		row->value[0] = low | (u64)high << 32;
		READ(low, channel->max_background);
		READ(high, channel->num_background);
		row->value[1] = low | (u64)high << 32;
		READ(low, channel->active_background);
		READ(high, channel->num_waiting.counter);
		row->value[2] = low | (u64)high << 32;
		READ(low, channel->minor);
		row->value[3] = low;
		row->value[4] = bpf_jiffies64();
		row->value[5] = bpf_ktime_get_ns();
	}
	struct ft_row *bits = ft_new_row(FT_ROW_BITS, connection, FT_NO_QUEUE);
	if (bits)
		bpf_probe_read_kernel(bits->value, FT_BITS_SIZE, (char *)ft_channel_conn(channel) + FT_BITS_AT);
	volatile u32 heads[2];
	heads[0] = __builtin_offsetof(ft_channel, iq.pending);
	heads[1] = __builtin_offsetof(ft_channel, bg_queue);
	ft_request_lists((char *)channel, heads, channel, connection, FT_NO_QUEUE, FT_LIST_PENDING);
#if FT_HAS_URING
	struct fuse_ring *ring = 0;
	READ(ring, channel->ring);
	if (ring)
		ft_ring(ring, row, channel, connection);
#endif
}

int ft_inspected(struct bpf_iter__task_file *ctx) {
	struct file *file = ctx->file;
	char *task = (void *)ctx->task;
	struct list_head *buckets = 0;
	u64 dev = 0;
	u32 pid = 0;

	if (!file || !task)
		return 0;
	ft_channel *channel = ft_fuse_file_channel(file);
	if (!channel)
		return 0;
	u32 connection = ft_channel_number(channel);
	if (!connection)
		return 0;
	struct ft_row *row = ft_new_row(FT_ROW_SERVER, connection, FT_NO_QUEUE);
	if (row) {
		bpf_probe_read_kernel(&pid, sizeof(pid), task + OFFSET_task_struct_tgid);
		row->value[0] = pid | (u64)ctx->fd << 32;
		bpf_probe_read_kernel(&row->value[1], 16, task + OFFSET_task_struct_comm);
	}
	if (ft_first((u64)channel))
		ft_connection(channel, connection);
	READ(dev, file->private_data);
	dev &= ~3ULL;
	if (dev && ft_first(dev)) {
		struct fuse_dev *device = (struct fuse_dev *)dev;
		READ(buckets, device->pq.processing);
		ft_processing(buckets, channel, connection);
		ft_request_list(&device->pq.io, channel, connection, FT_NO_QUEUE, FT_LIST_IO);
	}
	return 0;
}
