// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF iterator over the open files of all tasks: which process serves which FUSE connection, and whether over
 * io_uring. It reads the kernel's state and waits for nothing, so it answers for a hung server as well.
 */

struct ft_served {
	u32 pid, fd, connection, flags;
	u32 queues, entries;
	u64 max_payload;
	char comm[16];
};

#define FT_CONNECTED 1
#define FT_INITIALIZED 2
#define FT_RING 4        /* the INIT reply asked for io_uring: there is a ring */
#define FT_RING_READY 8  /* every queue has an entry: requests go over the ring */

int ft_connections(struct bpf_iter__task_file *ctx) {
	struct seq_file *seq = ctx->meta->seq;
	struct file *file = ctx->file;
	char *task = (void *)ctx->task;
	struct ft_served served = {};
	u32 connected = 0, initialized = 0;

	if (!file || !task)
		return 0;
	ft_channel *channel = ft_fuse_file_channel(file);
	if (!channel)
		return 0;
	served.connection = ft_channel_number(channel);
	if (!served.connection)
		return 0;
	bpf_probe_read_kernel(&served.pid, sizeof(served.pid), task + OFFSET_task_struct_tgid);
	served.fd = ctx->fd;
	bpf_probe_read_kernel(served.comm, sizeof(served.comm), task + OFFSET_task_struct_comm);
	READ(connected, channel->connected);
	READ(initialized, channel->initialized);
	served.flags = (connected ? FT_CONNECTED : 0) | (initialized ? FT_INITIALIZED : 0);
#ifdef HAVE_fuse_ring_nr_queues
	struct fuse_ring *ring = 0;
	READ(ring, channel->ring);
	if (ring) {
		bool ready = 0;
		u64 queues = 0, payload = 0;
		READ(queues, ring->nr_queues);
		READ(payload, ring->max_payload_sz);
		READ(served.entries, ring->queue_refs.counter);
		READ(ready, ring->ready);
		served.queues = queues;
		served.max_payload = payload;
		served.flags |= FT_RING | (ready ? FT_RING_READY : 0);
	}
#endif
	bpf_seq_write(seq, &served, sizeof(served));
	return 0;
}
