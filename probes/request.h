/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Requests, as every vantage sees them: which are shown, and what of a fuse_req goes into a record. After common.h.
 */

#define FT_INIT_OPCODE 26
#define FT_OPERATION 128                /* offset of fuse_uring_req_header.op_in */
#define FT_MOST_PARTS 280               /* of a reply to READDIRPLUS: 131 KiB */

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

static inline void ft_decide(struct fuse_req *req, u8 verdict) {
	u64 key = (u64)req;
	int zero = 0;
	u32 *any = decided.lookup(&zero);
	if (any && !*any)
		*any = 1;
	verdicts.update(&key, &verdict);
}

/* FT_HIDDEN, FT_CHOSEN, or 0: nothing was decided. */
static inline u8 ft_verdict(struct fuse_req *req) {
	u64 key = (u64)req;
	int zero = 0;
	u32 *any = decided.lookup(&zero);
	if (!any || !*any)
		return 0;
	u8 *verdict = verdicts.lookup(&key);
	return verdict ? *verdict : 0;
}

static inline int ft_shown(struct fuse_req *req) {
	u8 verdict = ft_verdict(req);
	return verdict == FT_CHOSEN || (!FT_CLIENT && !verdict);
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
	READ_AT(first, FT_IN_ARGS(args));
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
	READ_AT(first, FT_IN_ARGS(args));
	READ_AT(asked, first.value);
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

/*
 * Whether the data of a request lies in the client's pages, and whether its file was opened for zero-copy. Members of
 * fuse_args that are single bits, which have no address, so their places come from BTF.
 */
static inline int ft_args_bit(struct fuse_args *args, u32 bit) {
	u8 byte = 0;
	READ_AT(byte, (char *)args + bit / 8);
	return byte >> bit % 8 & 1;
}

static inline u16 ft_args_flags(struct fuse_args *args) {
	u16 flags = 0;
#ifdef BIT_fuse_args_zero_copy
	if (!args)
		return 0;
	if (ft_args_bit(args, BIT_fuse_args_in_pages) || ft_args_bit(args, BIT_fuse_args_out_pages))
		flags |= FT_HAS_PAGES;
	if (ft_args_bit(args, BIT_fuse_args_zero_copy))
		flags |= FT_FILE_ZERO_COPY;
#endif
	return flags;
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
