/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the probes of every vantage share: the ring buffer, the loss counters, the filters, and the walk from
 * a fuse_req, a fuse_ring_ent or a file to its connection. The loader puts record.h and this before a program, and
 * before them the kernel's types with their HAVE_<struct>_<member> macros, and these settings:
 *
 *   FT_SELF          thread group of furtrace itself
 *   FT_CLIENT        thread group of the client to show; 0: any
 *   FT_OPCODES       1: only requests for which FT_OPCODE_WANTED(opcode)
 *   FT_QUEUES        1: only queues for which FT_QUEUE_WANTED(queue)
 *   FT_PAYLOAD_BYTES most bytes of payload to take of each request and reply
 *   FT_RING_PAGES    size of the ring buffer
 *   FT_DIRECT_READS  1: the loader knows what FT_CAST is, see READ
 *   FT_DEV_READ      address of fuse_dev_read()
 *   FT_HAS_URING     1: this kernel has FUSE over io_uring
 *   FT_SEND_URING    address of fuse_uring_queue_fuse_req(); 0: none
 *   FT_SEND_DEV      address of fuse_dev_queue_req()
 */

/*
 * Reads a member, or what is at an address. The helper is called, it tests, and it copies; a load does none of that. But
 * the verifier wants the address of a load to come from where it trusts it, as from the kernel's bpf_rdonly_cast(), which
 * costs nothing (Linux 6.17 on). A bad address yields 0 either way. FT_CAST is a number of ours, which the loader takes
 * for that function.
 */
#if FT_DIRECT_READS
static inline const void *ft_readable(const void *address) {
	return ((const void *(*)(const void *, u32))FT_CAST)(address, 0);
}
#define READ_AT(dst, address) ((dst) = *(typeof(dst) *)ft_readable(address))
#else
#define READ_AT(dst, address) bpf_probe_read_kernel(&(dst), sizeof(dst), address)
#endif
#define READ(dst, src) READ_AT(dst, &(src))

/* bcc finds maps by their name and refuses map calls inside macros, so the helpers below are functions. */
BPF_RINGBUF_OUTPUT(events, FT_RING_PAGES);

/*
 * Counters by CPU, which the reader maps into its memory: were it to ask for them by bpf(2), the kernel would run no
 * kprobe of BPF on that CPU meanwhile (bpf_disable_instrumentation), not even in another task.
 */
#define FT_MOST_CPUS 4096
BPF_F_TABLE("array", u32, u64, lost, FT_MOST_CPUS, 1024);       /* BPF_F_MMAPABLE */

/*
 * `armed` is set once every probe is attached: before that a request would show in some of them only. A connection that
 * is listed in `connections` is shown or hidden as its value says, whatever `others` says; so what is listed can be
 * changed step by step, and no step shows or hides a wrong one. `listed` says whether there is a list at all.
 */
struct ft_settings { u32 armed, others, listed; };
#define FT_HIDE 0
#define FT_SHOW 1
BPF_ARRAY(settings, struct ft_settings, 1);
BPF_HASH(connections, u32, u8, 4096);

/*
 * Connections of which a REGISTER was submitted while their ring was not ready, or not there yet; and those of which
 * READY was told since, by whoever was the first to put the number in.
 */
BPF_TABLE("lru_hash", u32, u8, unready, 1024);
BPF_TABLE("lru_hash", u32, u8, told_ready, 1024);

/* Threads of the chosen client, learnt from its own requests: whose background requests are its. */
BPF_TABLE("lru_hash", u32, u8, client_threads, 4096);

/*
 * What was decided at QUEUED about a request, by its address: all its later events follow that. Mostly nothing ever is,
 * which `decided` tells at less cost than to look for it three times a request.
 */
#define FT_HIDDEN 1
#define FT_CHOSEN 2
BPF_TABLE("lru_hash", u64, u8, verdicts, 65536);
BPF_ARRAY(decided, u32, 1);

/*
 * The kernel runs no program that is already under way on the same CPU (bpf_prog.active), and since a program may be
 * preempted (those at functions always, those at tracepoints since Linux 7), another task's event may find it so and
 * be passed over. So each program has two stand-ins at the same place, one after the other, which do its work if the task
 * did not come by those before: `ran` says, by thread, whether it did. `stood_in` counts when it did not. What all three
 * miss, the kernel has counted. (With one stand-in an emulated machine under load lost one event of ten thousand. To
 * disable preemption instead, by bpf_preempt_disable, saves nothing: a task that was to be preempted meanwhile is at
 * bpf_preempt_enable, while its program is still under way.)
 *
 * A stand-in is the same program, but for this number, in whose place the loader puts one of the others.
 */
#define FT_FIRST 0x66747261636531ULL
#define FT_SECOND 2
#define FT_LAST 0

/*
 * By thread, the last of the three that it came by: each of them says that it was there. If the last one is missed, that
 * the second one ran is still there at the thread's next event, where it tells the second one nothing.
 */
#define FT_NONE_RAN 0
#define FT_FIRST_RAN 1
#define FT_SECOND_RAN 2
BPF_TABLE("lru_hash", u32, u8, ran, 65536);
BPF_F_TABLE("array", u32, u64, stood_in, FT_MOST_CPUS, 1024);

static inline int ft_is_its_turn(void) {
	volatile u64 role = FT_FIRST;
	u32 tid = bpf_get_current_pid_tgid(), cpu = bpf_get_smp_processor_id();
	u8 *mark = ran.lookup(&tid);
	int is_first = role & 1;   /* not compared with the number, which must stand in one place only */
	u8 before = mark ? *mark : FT_NONE_RAN;
	u8 now = is_first ? FT_FIRST_RAN : role == FT_SECOND ? FT_SECOND_RAN : FT_NONE_RAN;
	if (mark)
		*mark = now;
	else if (now)
		ran.update(&tid, &now);
	if (is_first)
		return 1;
	if (before == FT_FIRST_RAN || (before == FT_SECOND_RAN && role == FT_LAST))
		return 0;
	u64 *count = stood_in.lookup(&cpu);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 1;
}

static inline void ft_read_comm(struct ft_record *e) {
#if FT_DIRECT_READS
	/* The kernel keeps it filled up with zeros. */
	struct { u64 low, high; } comm;
	READ_AT(comm, (char *)bpf_get_current_task() + OFFSET_task_struct_comm);
	__builtin_memcpy(e->comm, &comm, sizeof(comm));
#else
	bpf_get_current_comm(e->comm, sizeof(e->comm));
#endif
}

static inline struct ft_record *ft_begin(u8 kind) {
	struct ft_record *e = events.ringbuf_reserve(sizeof(struct ft_record));
	if (!e) {
		u32 cpu = bpf_get_smp_processor_id();
		u64 *count = lost.lookup(&cpu);
		if (count)
			__sync_fetch_and_add(count, 1);
		return 0;
	}
	/* header[] and extra[] are valid as far as their sizes say; to clear them would cost as much as all the rest. */
	__builtin_memset(e, 0, __builtin_offsetof(struct ft_record, header));
	u64 id = bpf_get_current_pid_tgid();
	e->ns = bpf_ktime_get_ns();
	e->kind = kind;
	e->pid = id >> 32;
	e->tid = id;
	e->cpu = bpf_get_smp_processor_id();
	e->queue = FT_NO_QUEUE;
	ft_read_comm(e);
	return e;
}

static inline int ft_connection_wanted(u32 connection) {
	int zero = 0;
	struct ft_settings *now = settings.lookup(&zero);
	if (!now || !now->armed)
		return 0;
	if (!now->listed)
		return now->others == FT_SHOW;
	u8 *listed = connections.lookup(&connection);
	return (listed ? *listed : now->others) == FT_SHOW;
}

/*
 * A connection that begins may take the number of one that has ended. What was listed was the old one, to be shown or to
 * be left out; the list does not speak of the new one.
 */
static inline void ft_connection_begins(u32 connection) {
	connections.delete(&connection);
	unready.delete(&connection);
	told_ready.delete(&connection);
}

static inline int ft_opcode_wanted(u32 opcode) {
#if FT_OPCODES
	return FT_OPCODE_WANTED(opcode);
#else
	return 1;
#endif
}

static inline int ft_queue_wanted(u32 queue) {
#if FT_QUEUES
	return FT_QUEUE_WANTED(queue);
#else
	return 1;
#endif
}

static inline u32 ft_conn_number(struct fuse_conn *conn) {
	u32 dev = 0;
	if (conn)
		READ(dev, conn->dev);
	return dev;
}

/*
 * 7.3 gave the transport a structure of its own, struct fuse_chan; before that it was part of fuse_conn. A request is
 * given as a copy on the stack: reading it whole costs less than member by member.
 */
#ifdef HAVE_fuse_req_chan
typedef struct fuse_chan ft_channel;

static inline ft_channel *ft_req_channel(struct fuse_req *copy) {
	return copy->chan;
}

static inline ft_channel *ft_dev_channel(struct fuse_dev *dev) {
	struct fuse_chan *chan = 0;
	READ(chan, dev->chan);
	return chan;
}

static inline struct fuse_conn *ft_channel_conn(ft_channel *chan) {
	struct fuse_conn *conn = 0;
	READ(conn, chan->conn);
	return conn;
}
#else
typedef struct fuse_conn ft_channel;

static inline ft_channel *ft_req_channel(struct fuse_req *copy) {
	struct fuse_mount *fm = copy->fm;
	struct fuse_conn *conn = 0;
	if (fm)
		READ(conn, fm->fc);
	return conn;
}

static inline ft_channel *ft_dev_channel(struct fuse_dev *dev) {
	struct fuse_conn *conn = 0;
	READ(conn, dev->fc);
	return conn;
}

static inline struct fuse_conn *ft_channel_conn(ft_channel *conn) {
	return conn;
}
#endif

static inline u32 ft_channel_number(ft_channel *channel) {
	return ft_conn_number(ft_channel_conn(channel));
}

/* Where new requests of this channel go: the address of its send_req. */
static inline u64 ft_channel_sender(ft_channel *channel) {
	const struct fuse_iqueue_ops *ops = 0;
	void *send = 0;
	READ(ops, channel->iq.ops);
	if (ops)
		READ(send, ops->send_req);
	return (u64)send;
}

/*
 * The channel of an open /dev/fuse; 0 for any other file. Files are told by an operation of theirs that only fuse has.
 * The low bits of the private data are marks (FUSE_DEV_PTR_MASK in fs/fuse/fuse_dev_i.h).
 */
static inline ft_channel *ft_fuse_file_channel(struct file *file) {
	const struct file_operations *ops = 0;
	void *read_iter = 0;
	u64 dev = 0;
	if (!file)
		return 0;
	READ(ops, file->f_op);
	if (!ops)
		return 0;
	READ(read_iter, ops->read_iter);
	if ((u64)read_iter != FT_DEV_READ)
		return 0;
	READ(dev, file->private_data);
	dev &= ~3ULL;
	return dev ? ft_dev_channel((struct fuse_dev *)dev) : 0;
}

/* The file that a descriptor of the current task stands for; 0: none. */
static inline struct file *ft_open_file(u32 fd) {
	struct file *file = 0;
	char *task = (void *)bpf_get_current_task();
	struct files_struct *files = 0;
	struct fdtable *table = 0;
	struct file **slots = 0;
	u32 count = 0;
	READ_AT(files, task + OFFSET_task_struct_files);
	if (!files)
		return 0;
	READ(table, files->fdt);
	READ(count, table->max_fds);
	READ(slots, table->fd);
	if (fd >= count || !slots)
		return 0;
	READ(file, slots[fd]);
	return file;
}
