// SPDX-License-Identifier: GPL-2.0
/*
 * FORGET, BATCH_FORGET and INTERRUPT as the server reads them from /dev/fuse: they pass no tracepoint of fuse, so the end
 * of read(2) and readv(2) is watched. The kernel leaves every system call of the machine by the slow way meanwhile, which
 * is why this is only done when it is asked for. A server that splices from /dev/fuse reads nothing, and is not seen.
 */

#define FT_IN_HEADER 40                 /* sizeof(struct fuse_in_header) */
#define FT_FORGET_OPCODE 2
#define FT_INTERRUPT_OPCODE 36
#define FT_BATCH_FORGET_OPCODE 42
#define FT_HEAD_SIZE 8                  /* of fuse_forget_in, fuse_batch_forget_in and fuse_interrupt_in alike */

#define FT_REGISTER_AT(value, regs, offset) bpf_probe_read_kernel(&(value), sizeof(value), (char *)(regs) + (offset))
#ifdef OFFSET_pt_regs_orig_ax           /* x86-64 */
#define FT_NUMBER_AT OFFSET_pt_regs_orig_ax
#define FT_FD_AT OFFSET_pt_regs_di
#define FT_BUFFER_AT OFFSET_pt_regs_si
#define FT_NR_READ 0
#define FT_NR_READV 19
#else                                   /* arm64: the registers come first, the descriptor's was overwritten */
#define FT_NUMBER_AT OFFSET_pt_regs_syscallno
#define FT_FD_AT OFFSET_pt_regs_orig_x0
#define FT_BUFFER_AT 8
#define FT_NR_READ 63
#define FT_NR_READV 65
#endif

/* Where the buffer of a read(2) or readv(2) begins; 0 for every other system call. */
static inline u64 ft_read_buffer(void *regs) {
	u32 number = ~0U;
	u64 buffer = 0;
	FT_REGISTER_AT(number, regs, FT_NUMBER_AT);
	if (number != FT_NR_READ && number != FT_NR_READV)
		return 0;
	FT_REGISTER_AT(buffer, regs, FT_BUFFER_AT);
	if (number == FT_NR_READV)
		bpf_probe_read_user(&buffer, sizeof(buffer), (void *)buffer);   /* iov_base of the first */
	return buffer;
}

static inline void ft_fill_forget(struct ft_record *e, struct fuse_in_header *head, u64 buffer, u32 connection) {
	e->unique = head->unique;
	e->opcode = head->opcode;
	e->node_id = head->nodeid;
	e->client_tid = head->pid;
	e->length = head->len;
	e->connection = connection;
	e->transport = FT_DEV;
	ft_write_header(e, head, sizeof(*head));
	if (!bpf_probe_read_user(e->header + FT_OPERATION, FT_HEAD_SIZE, (void *)(buffer + FT_IN_HEADER)))
		e->header_size = FT_OPERATION + FT_HEAD_SIZE;
}

/* The inodes of a BATCH_FORGET, in parts. */
static inline void ft_send_forgotten(struct fuse_in_header *head, u64 buffer, u32 connection) {
	u64 start = FT_IN_HEADER + FT_HEAD_SIZE;
	#pragma clang loop unroll(disable)
	for (u32 i = 0; i < FT_MOST_PARTS; i++) {
		/* Loaded anew each time, so that the verifier does not follow what the last round has shown of it. */
		asm volatile("" ::: "memory");
		u64 at = i * FT_PART_SIZE, whole = head->len, size = whole - start - at;
		if (start + at >= whole)
			return;
		struct ft_record *e = ft_begin(FT_ENTRIES);
		if (!e)
			return;
		e->unique = head->unique;
		e->opcode = head->opcode;
		e->connection = connection;
		e->transport = FT_DEV;
		e->length = at;
		e->payload_size = whole - start;
		if (size > FT_PART_SIZE)
			size = FT_PART_SIZE;
		FT_BOUND(size);
		if (size > 0 && size <= FT_PART_SIZE && !bpf_probe_read_user(e->header, size, (void *)(buffer + start + at)))
			e->header_size = size;
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
}

static inline void ft_at_sys_exit(u64 at, s64 result) {
	void *regs = (void *)at;
	struct fuse_in_header head = {};
	u32 fd = 0;

	if (result < FT_IN_HEADER + FT_HEAD_SIZE)
		return;
	u64 buffer = ft_read_buffer(regs);
	if (!buffer)
		return;
	FT_REGISTER_AT(fd, regs, FT_FD_AT);
	ft_channel *channel = ft_fuse_file_channel(ft_open_file(fd));
	if (!channel || bpf_probe_read_user(&head, sizeof(head), (void *)buffer))
		return;
	if (head.opcode != FT_FORGET_OPCODE && head.opcode != FT_BATCH_FORGET_OPCODE && head.opcode != FT_INTERRUPT_OPCODE)
		return;
	u32 connection = ft_channel_number(channel);
	if (!ft_connection_wanted(connection))
		return;
	int shown = !FT_CLIENT && !FT_QUEUES && ft_opcode_wanted(head.opcode);
	if (shown || head.opcode == FT_FORGET_OPCODE) {
		struct ft_record *e = ft_begin(shown ? FT_DELIVERED : FT_NAMED);
		if (!e)
			return;
		ft_fill_forget(e, &head, buffer, connection);
		events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
	if (head.opcode == FT_BATCH_FORGET_OPCODE)
		ft_send_forgotten(&head, buffer, connection);
}
