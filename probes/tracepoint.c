// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoint vantage: fuse_request_send, fuse_request_sent (7.3 on), fuse_request_end, io_uring_submit_req,
 * io_uring_complete and io_uring_cqe_overflow. With these alone the conversation is complete: QUEUED, DELIVERED,
 * FIXED_IO, COMMITTED, ENDED; INIT, ADD_QUEUE, ADD_BUFPOOL, REGISTER; REFUSED and STOPPED.
 *
 * Here are the handlers; the programs that call them are written by the loader (furtrace/probe/programs.py). A raw
 * tracepoint program may read no argument past those of the tracepoint: it loads, and fails to attach.
 */
#define FT_FIXED_FILE 1U                /* REQ_F_FIXED_FILE, which is IOSQE_FIXED_FILE */

static inline void ft_at_fuse_request_send(u64 at) {
	struct fuse_req copy, *req = (void *)at;
	u64 id = bpf_get_current_pid_tgid();

	READ_AT(copy, req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (copy.in.h.opcode == FT_INIT_OPCODE)
		ft_connection_begins(connection);
	if (!ft_connection_wanted(connection) || !ft_opcode_wanted(copy.in.h.opcode))
		return;
	u64 sender = ft_channel_sender(channel);
	if (sender != FT_SEND_DEV && sender != FT_SEND_URING)
		return;
	/*
	 * A background request may be sent later, by another task, when others have ended; over io_uring it is given to
	 * its queue at once (fuse_request_queue_background_uring).
	 */
	u32 client_is_current = !ft_background(copy.flags) || sender == FT_SEND_URING || copy.in.h.pid == (u32)id;
	if (id >> 32 == FT_SELF) {
		ft_decide(req, FT_HIDDEN);
		return;
	}
	if (!ft_chosen(sender, client_is_current, copy.in.h.pid))
		return;
#if FT_CLIENT || FT_QUEUES
	ft_decide(req, FT_CHOSEN);
#endif
#if FT_BUFFERS_AT_FUNCTION
	ft_queues(channel, req, copy.in.h.unique, sender);
#endif
	struct ft_record *e = ft_begin(FT_QUEUED);
	if (!e)
		return;
	ft_fill_request(e, &copy);
	if (client_is_current)
		e->flags |= FT_CURRENT_IS_CLIENT;
	e->connection = connection;
	e->flags |= ft_args_flags(copy.args);
	ft_write_header(e, &copy.in.h, sizeof(copy.in.h));
	if (copy.args && ft_has_operation_header(e->opcode)) {
		struct fuse_in_arg first = {};
		READ_AT(first, FT_IN_ARGS(copy.args));
		ft_read_operation(e, first.value, first.size);
	}
	if (copy.args)
		ft_read_names(e, copy.args);
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#ifdef FT_HAVE_REQUEST_SENT
/* A request that goes by /dev/fuse is in the server's hands; of one over io_uring the CQE says so. */
static inline void ft_at_fuse_request_sent(u64 at) {
	struct fuse_req copy, *req = (void *)at;

	READ_AT(copy, req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (FT_QUEUES || ft_over_uring(copy.flags) || !ft_connection_wanted(connection))
		return;
	if (!ft_opcode_wanted(copy.in.h.opcode) || ft_virtiofs(channel) || !ft_shown(req))
		return;
	struct ft_record *e = ft_begin(FT_DELIVERED);
	if (!e)
		return;
	ft_fill_request(e, &copy);
	e->transport = FT_DEV;
	e->connection = connection;
	ft_write_header(e, &copy.in.h, sizeof(copy.in.h));
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
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
	READ_AT(in, FT_IN_ARGS(copy->args));
	READ_AT(out, FT_OUT_ARGS(copy->args));
	__builtin_memset(e->extra, 0, 128);
	if (in.value && in.size)
		bpf_probe_read_kernel(e->extra, in.size < 64 ? in.size : 64, in.value);
	if (!error && out.value && out.size)
		bpf_probe_read_kernel(e->extra + 64, out.size < 64 ? out.size : 64, out.value);
	e->extra_size = error ? 64 : 128;
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

static inline void ft_at_fuse_request_end(u64 at) {
	struct fuse_req copy, *req = (void *)at;
	u64 key = (u64)req;
	u32 queue = FT_NO_QUEUE;

	READ_AT(copy, req);
	ft_channel *channel = ft_req_channel(&copy);
	u32 connection = ft_channel_number(channel);
	if (!ft_connection_wanted(connection))
		return;
	if (!ft_over_uring(copy.flags) && ft_virtiofs(channel))
		return;
	u8 verdict = ft_verdict(req);
	if (verdict)
		verdicts.delete(&key);
#ifdef HAVE_fuse_req_ring_queue
	struct fuse_ring_queue *ring_queue = copy.ring_queue;
	if (ft_over_uring(copy.flags) && ring_queue)
		READ(queue, ring_queue->qid);
#endif
	int names_something = copy.args && ft_changes_names(copy.in.h.opcode);
	int shown = ft_opcode_wanted(copy.in.h.opcode) && verdict != FT_HIDDEN && !(FT_CLIENT && !verdict);
	if (!verdict && FT_QUEUES && (queue == FT_NO_QUEUE || !ft_queue_wanted(queue)))
		shown = 0;
	if (!shown && !names_something)
		return;
	struct ft_record *e = ft_begin(shown ? FT_ENDED : FT_NAMED);
	if (!e)
		return;
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
		READ_AT(first, FT_OUT_ARGS(copy.args));
		ft_read_operation(e, first.value, first.size);
	}
	if (names_something) {
		ft_read_argument(e, copy.args);
		ft_read_names(e, copy.args);
	}
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	if (shown && copy.in.h.opcode == FT_INIT_OPCODE && copy.args)
		ft_init(&copy, connection);
}
#if FT_HAS_URING

#if !FT_COMMANDS_AT_FUNCTION
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
static inline void ft_at_io_uring_submit_req(u64 req) {
	struct ft_submission taken;
	ft_channel *channel;
	{
		struct ft_kiocb kiocb;
		READ_AT(kiocb, (void *)req);
		if (!ft_is_command(FT_KIOCB(&kiocb, u8, opcode)))
			return;
		ft_take_submission(&taken, req, &kiocb);
		channel = ft_fuse_file_channel(ft_submitted_file(&kiocb, (struct io_ring_ctx *)taken.ring));
	}
	if (channel)
		ft_submitted(&taken, channel);
}
#endif

/*
 * A command that the kernel answered with an error. An entry that was idle or whose request was given up when the
 * connection ended is answered too: -ENOTCONN or -ECANCELED on a connection that was alive at its submission.
 */
static inline void ft_failed(u64 req, u32 op, struct ft_command_key *key, u32 connection, s32 result, u16 extra_flags) {
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
static inline void ft_completed(u64 req, struct ft_kiocb *kiocb, s32 result, u16 extra_flags) {
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
	READ_AT(copy, delivered);
	if (!ft_opcode_wanted(copy.in.h.opcode) || !ft_shown(delivered)) {
		ft_holds_no_more(ent);
		return;
	}
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
	e->flags |= extra_flags | ft_args_flags(copy.args);
	if (e->header_size)
		e->commit_id = *(u64 *)(e->header + 264);
	ft_now_holds(e, ent, (struct io_ring_ctx *)key.ring);
#if FT_PAYLOAD_BYTES
	struct ft_payload payload = {};
	ft_take_payload(&payload, e);
#endif
	events.ringbuf_submit(e, BPF_RB_NO_WAKEUP);
#if FT_PAYLOAD_BYTES
	ft_send_payload(&copy, &payload, FT_REQUEST_PAYLOAD);
#endif
}

static inline void ft_at_io_uring_complete(u64 req, u64 at) {
	struct io_uring_cqe *cqe = (void *)at;
	struct ft_kiocb kiocb;
	s32 result = 0;
	if (!req)
		return;
	READ_AT(kiocb, (void *)req);
	u8 opcode = FT_KIOCB(&kiocb, u8, opcode);
#if FT_HAS_SLOTS
	if (ft_is_fixed_io(opcode)) {
		READ(result, cqe->res);
		ft_fixed_io((struct io_kiocb *)req, &kiocb, result);
		return;
	}
#endif
	if (!ft_is_command(opcode))
		return;
	READ(result, cqe->res);
	ft_completed(req, &kiocb, result, 0);
}

/*
 * The tracepoint does not say which request's CQE it is. All that complete together are in a list while their CQEs are
 * written; a server that gives two commands the same user_data can't tell them apart, and neither can this.
 */
static inline void ft_at_io_uring_cqe_overflow(u64 at, u64 wanted, s32 result) {
	struct io_ring_ctx *ring = (void *)at;
	struct io_wq_work_node *node = 0;
	struct ft_kiocb kiocb;
	u64 found = 0;

	READ(node, ring->submit_state.compl_reqs.first);
	#pragma unroll
	for (int i = 0; i < 64 && node; i++) {
		u64 req = (u64)node - __builtin_offsetof(struct io_kiocb, comp_list);
		READ_AT(kiocb, (void *)req);
		if (FT_KIOCB(&kiocb, u64, cqe.user_data) == wanted && ft_is_command(FT_KIOCB(&kiocb, u8, opcode))) {
			found = req;
			break;
		}
		READ(node, node->next);
	}
	if (found)
		ft_completed(found, &kiocb, result, FT_CQE_OVERFLOW);
}

#endif
