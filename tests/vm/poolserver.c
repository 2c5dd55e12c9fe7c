/*
 * A FUSE server over io_uring for the buffer pools of Linux 7.3, which logs what it was asked and what it answered. It
 * shares no code with what it is a witness of.
 *
 *   poolserver --mode pool|fixed-pool|zero-copy [--entries N] [--buffers N] [--zero-copy-names PATTERN] [--direct]
 *              [--log FILE] BACKING MOUNTPOINT
 *
 * It passes the regular files of the directory BACKING through, and none of its directories. It prints "ready" once
 * every queue has its entries, and serves until it is unmounted or gets SIGTERM or SIGINT; then it unmounts. The exit
 * status is 0 if nothing went wrong until then.
 *
 * Each queue has N entries, and a pool of N buffers. In mode fixed-pool the pool is a registered buffer of the ring. In
 * mode zero-copy, files with names that fit PATTERN ("*" unless it is given) are opened for zero-copy: their READ and
 * WRITE bring the client's pages as registered buffers, which READ_FIXED and WRITE_FIXED fill from the backing file and
 * write to it. With --direct every file is opened with FOPEN_DIRECT_IO.
 *
 * The log has one JSON object a line, of three kinds. The line of a request is written before its answer is submitted.
 *
 *   setup    a command that made a queue (ADD_QUEUE, ADD_BUFPOOL, REGISTER), when it completed; REGISTER does so with
 *            the entry's first request, and its result is null if that never came
 *   request  a request that came by the ring, its answer, and the fixed reads and writes between the two
 *   end      a COMMIT_AND_FETCH that brought no further request, such as at the end of the connection
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <liburing.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/*
 * What include/uapi/linux/fuse.h of Linux 7.3 has and that of the C library's kernel may not have; the names are our
 * own, so that they do not clash with a newer one.
 */
#define MINOR_VERSION 46
#define INIT2_OVER_IO_URING (1U << (41 - 32))
#define INIT2_HAS_BUFPOOL (1U << (43 - 32))
#define OPEN_ZERO_COPY (1U << 8)
#define QUEUE_ZERO_COPY (1U << 0)
#define ENT_ZERO_COPY (1U << 0)

enum command { REGISTER = 1, COMMIT_AND_FETCH = 2, ADD_QUEUE = 3, ADD_BUFPOOL = 4 };

/* struct fuse_uring_ent_in_out */
struct ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t offset;
	uint64_t reserved;
};

/* struct fuse_uring_req_header */
struct ring_header {
	union {
		struct fuse_in_header in;
		struct fuse_out_header out;
		char in_out[128];
	};
	union {
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_setattr_in setattr;
		struct fuse_create_in create;
		char op_in[128];
	};
	struct ent_in_out ent;
};
_Static_assert(sizeof(struct ring_header) == 288, "fuse_uring_req_header has 288 bytes");

/* struct fuse_uring_cmd_req, which fills the command area of an SQE */
struct command_area {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
	union {
		struct {
			uint64_t uaddr;
			uint32_t len;
			uint32_t reserved;
		} bufpool;
		uint16_t slot;
	};
};
_Static_assert(sizeof(struct command_area) == 40, "fuse_uring_cmd_req has 40 bytes");

/* The kernel cuts the pool into pieces of max(8192, max_write, max_pages * page size): INIT makes them these. */
#define BUFFER_SIZE (128U << 10)
/* Not the first of the table: a command that forgets to name it must not be right by accident. */
#define POOL_INDEX 3U
#define MOST_FIXED_IO 16
#define VALID_SECONDS 1

enum mode { POOL, FIXED_POOL, ZERO_COPY };
static const char *const MODES[] = {[POOL] = "pool", [FIXED_POOL] = "fixed-pool", [ZERO_COPY] = "zero-copy"};

static struct {
	enum mode mode;
	unsigned entries, buffers;
	const char *log, *zero_copy_names, *backing, *mountpoint;
	bool direct;
} options = {.entries = 4, .buffers = 4, .zero_copy_names = "*"};

static int backing_fd, fuse_fd, stop_fd, wake_fd;
static FILE *log_file;
static bool mounted;
static sem_t queues_set_up;
static atomic_bool failed, disconnected;

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	flockfile(stderr);
	fputs("poolserver: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	funlockfile(stderr);
	va_end(arguments);
	failed = true;
}

/* End at once, for want of something without which nothing can be served. */
#define FAIL(...) (complain(__VA_ARGS__), give_up())

static _Noreturn void give_up(void)
{
	if (mounted)
		umount2(options.mountpoint, MNT_DETACH);
	exit(1);
}

/* ---- Files: a node for each that the kernel knows, with a descriptor that stays open. ---- */

struct node {
	uint64_t id, lookups;
	dev_t device;
	ino_t inode;
	int fd;
	bool zero_copy;
	struct node *next;
};

static struct node *nodes;
static pthread_mutex_t nodes_lock = PTHREAD_MUTEX_INITIALIZER;

/* Take over fd and return the id of its file, which the kernel then knows once more. */
static uint64_t node_of_file(int fd, const struct stat *status, const char *name)
{
	static uint64_t last_id = FUSE_ROOT_ID;
	struct node *node;

	pthread_mutex_lock(&nodes_lock);
	for (node = nodes; node; node = node->next)
		if (node->inode == status->st_ino && node->device == status->st_dev)
			break;
	if (node) {
		close(fd);
	} else {
		node = calloc(1, sizeof(*node));
		if (!node)
			abort();
		*node = (struct node){.id = ++last_id, .device = status->st_dev, .inode = status->st_ino, .fd = fd};
		node->zero_copy = options.mode == ZERO_COPY && !fnmatch(options.zero_copy_names, name, 0);
		node->next = nodes;
		nodes = node;
	}
	node->lookups++;
	uint64_t id = node->id;
	pthread_mutex_unlock(&nodes_lock);
	return id;
}

/* The kernel forgets a node only when it has no request for it any more, so nobody uses the descriptor. */
static void forget(uint64_t id, uint64_t lookups)
{
	pthread_mutex_lock(&nodes_lock);
	for (struct node **link = &nodes; *link; link = &(*link)->next) {
		struct node *node = *link;

		if (node->id != id)
			continue;
		node->lookups -= lookups;
		if (!node->lookups) {
			*link = node->next;
			close(node->fd);
			free(node);
		}
		break;
	}
	pthread_mutex_unlock(&nodes_lock);
}

static int descriptor_of(uint64_t id, bool *zero_copy)
{
	int fd = id == FUSE_ROOT_ID ? backing_fd : -1;

	*zero_copy = false;
	pthread_mutex_lock(&nodes_lock);
	for (struct node *node = nodes; node; node = node->next) {
		if (node->id == id) {
			fd = node->fd;
			*zero_copy = node->zero_copy;
			break;
		}
	}
	pthread_mutex_unlock(&nodes_lock);
	return fd;
}

/* ---- Operations: each returns how many bytes its answer has in the buffer, or a negative error number. ---- */

struct request {
	struct fuse_in_header in;
	struct ent_in_out ent;
	const struct ring_header *header; /* for the operation's own part */
	char *buffer;                     /* of BUFFER_SIZE bytes; another request's if this one has none */
	int fd;                           /* of the node */
	bool zero_copied;
	bool zero_copy_file;
};

static int answer(struct request *request, const void *body, size_t size)
{
	memcpy(request->buffer, body, size);
	return (int)size;
}

/* The name that a request has for its payload, or null. */
static const char *name_of(const struct request *request)
{
	return memchr(request->buffer, 0, request->ent.payload_sz) ? request->buffer : NULL;
}

static struct fuse_attr attributes(uint64_t id, const struct stat *status)
{
	return (struct fuse_attr){
		.ino = id,
		.size = (uint64_t)status->st_size,
		.blocks = (uint64_t)status->st_blocks,
		.atime = (uint64_t)status->st_atim.tv_sec,
		.mtime = (uint64_t)status->st_mtim.tv_sec,
		.ctime = (uint64_t)status->st_ctim.tv_sec,
		.atimensec = (uint32_t)status->st_atim.tv_nsec,
		.mtimensec = (uint32_t)status->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)status->st_ctim.tv_nsec,
		.mode = status->st_mode,
		.nlink = (uint32_t)status->st_nlink,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.blksize = (uint32_t)status->st_blksize,
	};
}

/* Take over fd and describe its file, if it is one that is passed through. */
static int make_entry(int fd, const char *name, struct fuse_entry_out *entry)
{
	struct stat status;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return -ENOENT;
	}
	uint64_t id = node_of_file(fd, &status, name);
	*entry = (struct fuse_entry_out){
		.nodeid = id,
		.entry_valid = VALID_SECONDS,
		.attr_valid = VALID_SECONDS,
		.attr = attributes(id, &status),
	};
	return 0;
}

static struct fuse_open_out opened(bool zero_copy)
{
	uint32_t flags = (options.direct ? FOPEN_DIRECT_IO : 0) | (zero_copy ? OPEN_ZERO_COPY : 0);

	return (struct fuse_open_out){.open_flags = flags};
}

static int do_lookup(struct request *request)
{
	const char *name = name_of(request);
	struct fuse_entry_out entry;

	if (!name || request->in.nodeid != FUSE_ROOT_ID)
		return -EINVAL;
	int fd = openat(backing_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == EISDIR || errno == ELOOP ? -ENOENT : -errno;
	int error = make_entry(fd, name, &entry);
	return error ? error : answer(request, &entry, sizeof(entry));
}

static int do_create(struct request *request)
{
	const struct fuse_create_in *in = &request->header->create;
	const char *name = name_of(request);
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} made;

	if (!name || request->in.nodeid != FUSE_ROOT_ID)
		return -EINVAL;
	int flags = (int)(in->flags & (O_EXCL | O_TRUNC)) | O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(backing_fd, name, flags, in->mode & 07777);
	if (fd < 0)
		return -errno;
	int error = make_entry(fd, name, &made.entry);
	if (error)
		return error;
	descriptor_of(made.entry.nodeid, &request->zero_copy_file);
	made.open = opened(request->zero_copy_file);
	return answer(request, &made, sizeof(made));
}

static int do_getattr(struct request *request)
{
	struct stat status;

	if (fstat(request->fd, &status) < 0)
		return -errno;
	struct fuse_attr_out out = {.attr_valid = VALID_SECONDS, .attr = attributes(request->in.nodeid, &status)};
	return answer(request, &out, sizeof(out));
}

static struct timespec time_to_set(uint32_t valid, uint32_t given, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
	if (!(valid & given))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	if (valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
}

static int do_setattr(struct request *request)
{
	const struct fuse_setattr_in *in = &request->header->setattr;
	const struct timespec times[] = {
		time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
		return -EOPNOTSUPP;
	if (in->valid & FATTR_SIZE && ftruncate(request->fd, (off_t)in->size) < 0)
		return -errno;
	if (futimens(request->fd, times) < 0)
		return -errno;
	return do_getattr(request);
}

static int do_unlink(struct request *request)
{
	const char *name = name_of(request);

	return !name ? -EINVAL : unlinkat(backing_fd, name, 0) < 0 ? -errno : 0;
}

static int do_open(struct request *request)
{
	struct fuse_open_out out = opened(request->zero_copy_file);

	return answer(request, &out, sizeof(out));
}

static int do_opendir(struct request *request)
{
	struct fuse_open_out out = {};

	return answer(request, &out, sizeof(out));
}

static int do_read(struct request *request)
{
	const struct fuse_read_in *in = &request->header->read;

	if (in->size > BUFFER_SIZE)
		return -EINVAL;
	ssize_t size = pread(request->fd, request->buffer, in->size, (off_t)in->offset);
	return size < 0 ? -errno : (int)size;
}

static int do_write(struct request *request)
{
	const struct fuse_write_in *in = &request->header->write;

	if (in->size != request->ent.payload_sz)
		return -EINVAL;
	ssize_t size = pwrite(request->fd, request->buffer, in->size, (off_t)in->offset);
	if (size < 0)
		return -errno;
	struct fuse_write_out out = {.size = (uint32_t)size};
	return answer(request, &out, sizeof(out));
}

/* Put one name where there is room for it, and return how many bytes it takes; 0 where there is none. */
static size_t put_name(char *to, size_t room, const struct dirent *found)
{
	size_t length = strlen(found->d_name);
	size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
	struct fuse_dirent entry = {
		.ino = found->d_ino,
		.off = (uint64_t)found->d_off,
		.namelen = (uint32_t)length,
		.type = found->d_type,
	};

	if (size > room)
		return 0;
	memset(to, 0, size);
	memcpy(to, &entry, FUSE_NAME_OFFSET);
	memcpy(to + FUSE_NAME_OFFSET, found->d_name, length);
	return size;
}

static int do_readdir(struct request *request)
{
	const struct fuse_read_in *in = &request->header->read;
	size_t filled = 0;

	if (in->size > BUFFER_SIZE)
		return -EINVAL;
	DIR *directory = fdopendir(openat(backing_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!directory)
		return -errno;
	if (in->offset)
		seekdir(directory, (long)in->offset);
	for (struct dirent *found; (found = readdir(directory));) {
		if (found->d_type != DT_REG)
			continue;
		size_t size = put_name(request->buffer + filled, in->size - filled, found);
		if (!size)
			break;
		filled += size;
	}
	closedir(directory);
	return (int)filled;
}

static int do_statfs(struct request *request)
{
	struct statvfs status;

	if (fstatvfs(backing_fd, &status) < 0)
		return -errno;
	struct fuse_statfs_out out = {
		.st = {
			.blocks = status.f_blocks,
			.bfree = status.f_bfree,
			.bavail = status.f_bavail,
			.files = status.f_files,
			.ffree = status.f_ffree,
			.bsize = (uint32_t)status.f_bsize,
			.namelen = (uint32_t)status.f_namemax,
			.frsize = (uint32_t)status.f_frsize,
		},
	};
	return answer(request, &out, sizeof(out));
}

static int do_fsync(struct request *request)
{
	return fsync(request->fd) < 0 ? -errno : 0;
}

static int do_nothing(struct request *request)
{
	(void)request;
	return 0;
}

/* The bare ones have nothing but their header, and no answer but an error number, so they get no buffer. */
static const struct operation {
	int (*run)(struct request *);
	bool bare;
} OPERATIONS[] = {
	[FUSE_LOOKUP] = {do_lookup},
	[FUSE_GETATTR] = {do_getattr},
	[FUSE_SETATTR] = {do_setattr},
	[FUSE_UNLINK] = {do_unlink},
	[FUSE_OPEN] = {do_open},
	[FUSE_READ] = {do_read},
	[FUSE_WRITE] = {do_write},
	[FUSE_STATFS] = {do_statfs},
	[FUSE_RELEASE] = {do_nothing, .bare = true},
	[FUSE_FSYNC] = {do_fsync, .bare = true},
	[FUSE_FLUSH] = {do_nothing, .bare = true},
	[FUSE_OPENDIR] = {do_opendir},
	[FUSE_READDIR] = {do_readdir},
	[FUSE_RELEASEDIR] = {do_nothing, .bare = true},
	[FUSE_ACCESS] = {do_nothing, .bare = true},
	[FUSE_CREATE] = {do_create},
};

static const struct operation *operation_of(const struct request *request)
{
	static const struct operation UNKNOWN;
	uint32_t opcode = request->in.opcode;

	return opcode < sizeof(OPERATIONS) / sizeof(*OPERATIONS) ? &OPERATIONS[opcode] : &UNKNOWN;
}

static int run(struct request *request)
{
	const struct operation *operation = operation_of(request);

	return !operation->run ? -ENOSYS : request->fd < 0 ? -ESTALE : operation->run(request);
}

/* ---- Queues: a thread and a ring each. ---- */

/* What fixed reads or writes have moved of a zero-copied request's data, and are still to move. */
struct transfer {
	uint64_t file_offset;
	uint32_t length, moved;
	unsigned count;
	struct {
		uint32_t asked;
		int result;
	} done[MOST_FIXED_IO];
};

struct entry {
	unsigned index;
	uint16_t slot;
	bool registered;
	struct ring_header *header;
	struct iovec iovecs[2];
	struct request request;
	struct transfer transfer;
};

struct queue {
	uint16_t qid;
	pthread_t thread;
	struct io_uring ring;
	struct entry *entries;
	char *pool;
	uint32_t pool_size;
	unsigned live;   /* entries that the kernel has not given back for good */
	unsigned moving; /* requests in the middle of their transfer */
	bool stopping;
};

/* user_data is the entry's index, or'ed with one of these. */
#define MOVED (1ULL << 32)
#define STOP (1ULL << 33)

/* Write a number to the log, or null if it is negative. */
static void log_number(const char *name, int64_t value)
{
	if (value < 0)
		fprintf(log_file, ",\"%s\":null", name);
	else
		fprintf(log_file, ",\"%s\":%lld", name, (long long)value);
}

static void log_setup(const struct queue *queue, enum command op, const struct entry *entry, const int *result)
{
	static const char *const NAMES[] = {
		[REGISTER] = "REGISTER", [ADD_QUEUE] = "ADD_QUEUE", [ADD_BUFPOOL] = "ADD_BUFPOOL"};
	bool names_pool = options.mode == FIXED_POOL && op != ADD_QUEUE;

	flockfile(log_file);
	fprintf(log_file, "{\"kind\":\"setup\",\"op\":\"%s\",\"qid\":%u", NAMES[op], queue->qid);
	log_number("entry", entry ? (int)entry->index : -1);
	log_number("slot", entry && options.mode == ZERO_COPY ? entry->slot : -1);
	log_number("buf_index", names_pool ? (int)POOL_INDEX : -1);
	log_number("bytes", op == ADD_BUFPOOL ? (int64_t)queue->pool_size : -1);
	if (result)
		fprintf(log_file, ",\"result\":%d}\n", *result);
	else
		fputs(",\"result\":null}\n", log_file);
	funlockfile(log_file);
}

static void log_end(const struct queue *queue, const struct entry *entry, int result)
{
	fprintf(log_file, "{\"kind\":\"end\",\"qid\":%u,\"entry\":%u,\"result\":%d}\n", queue->qid, entry->index, result);
}

/* Whether a request has a buffer: at offset 0 that shows only in what it is. */
static const char *has_buffer(const struct request *request)
{
	const struct operation *operation = operation_of(request);

	if (request->ent.offset || (request->ent.payload_sz && !request->zero_copied))
		return "true";
	if (!operation->run)
		return "null";
	return operation->bare || (request->zero_copied && request->in.opcode == FUSE_READ) ? "false" : "true";
}

static void log_request(const struct queue *queue, const struct entry *entry, int error, uint32_t size)
{
	const struct request *request = &entry->request;
	const struct transfer *transfer = &entry->transfer;

	flockfile(log_file);
	fprintf(log_file, "{\"kind\":\"request\",\"unique\":%llu,\"opcode\":%u,\"nodeid\":%llu,\"qid\":%u,\"entry\":%u",
		(unsigned long long)request->in.unique, request->in.opcode, (unsigned long long)request->in.nodeid, queue->qid,
		entry->index);
	fprintf(log_file, ",\"commit_id\":%llu,\"payload_sz\":%u,\"offset\":%u,\"has_buffer\":%s,\"zero_copied\":%s",
		(unsigned long long)request->ent.commit_id, request->ent.payload_sz, request->ent.offset, has_buffer(request),
		request->zero_copied ? "true" : "false");
	log_number("slot", request->zero_copied ? entry->slot : -1);
	fprintf(log_file, ",\"error\":%d,\"reply_payload_sz\":%u,\"fixed_io\":[", error, size);
	for (unsigned i = 0; i < transfer->count; i++)
		fprintf(log_file, "%s{\"opcode\":\"%s\",\"slot\":%u,\"asked\":%u,\"bytes\":%d}", i ? "," : "",
			request->in.opcode == FUSE_READ ? "READ_FIXED" : "WRITE_FIXED", entry->slot, transfer->done[i].asked,
			transfer->done[i].result);
	fputs("]}\n", log_file);
	funlockfile(log_file);
}

/* There is room for one SQE an entry and one more, and none has two of them before the next submission. */
static struct io_uring_sqe *next_sqe(struct queue *queue, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);

	if (!sqe)
		abort();
	memset(sqe, 0, 128);
	sqe->user_data = user_data;
	return sqe;
}

/* Put a command into the ring, and return its command area. */
static struct command_area *put_command(struct queue *queue, enum command op, uint64_t user_data)
{
	struct io_uring_sqe *sqe = next_sqe(queue, user_data);
	struct command_area *area = (struct command_area *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fuse_fd;
	sqe->cmd_op = op;
	if (options.mode == FIXED_POOL && op != ADD_QUEUE) {
		sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
		sqe->buf_index = POOL_INDEX;
	}
	if (op == REGISTER) {
		sqe->addr = (uintptr_t)queue->entries[user_data].iovecs;
		sqe->len = 2;
	}
	area->qid = queue->qid;
	return area;
}

static void reply(struct queue *queue, struct entry *entry, int error, uint32_t size)
{
	struct ring_header *header = entry->header;
	const struct request *request = &entry->request;

	log_request(queue, entry, error, size);
	header->out = (struct fuse_out_header){
		.len = (uint32_t)sizeof(header->out) + size,
		.error = error,
		.unique = request->in.unique,
	};
	header->ent.payload_sz = size;
	put_command(queue, COMMIT_AND_FETCH, entry->index)->commit_id = request->ent.commit_id;
}

static void reply_result(struct queue *queue, struct entry *entry, int result)
{
	reply(queue, entry, result < 0 ? result : 0, result < 0 ? 0 : (uint32_t)result);
}

/* Answer a zero-copied request; the data of a READ is in the client's pages already, but counts all the same. */
static void end_transfer(struct queue *queue, struct entry *entry)
{
	const struct transfer *transfer = &entry->transfer;
	int last = transfer->count ? transfer->done[transfer->count - 1].result : 0;
	struct fuse_write_out out = {.size = transfer->moved};

	if (last < 0 && !transfer->moved)
		reply(queue, entry, last, 0);
	else if (entry->request.in.opcode == FUSE_READ)
		reply(queue, entry, 0, transfer->moved);
	else
		reply_result(queue, entry, answer(&entry->request, &out, sizeof(out)));
}

/* Have the rest moved. Addresses within a buffer that the kernel has registered count from 0. */
static void put_transfer(struct queue *queue, struct entry *entry)
{
	const struct transfer *transfer = &entry->transfer;
	struct io_uring_sqe *sqe = next_sqe(queue, MOVED | entry->index);

	sqe->opcode = entry->request.in.opcode == FUSE_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
	sqe->fd = entry->request.fd;
	sqe->off = transfer->file_offset + transfer->moved;
	sqe->addr = transfer->moved;
	sqe->len = transfer->length - transfer->moved;
	sqe->buf_index = entry->slot;
	queue->moving++;
}

static void take_transfer(struct queue *queue, struct entry *entry, int result)
{
	struct transfer *transfer = &entry->transfer;

	queue->moving--;
	transfer->done[transfer->count].asked = transfer->length - transfer->moved;
	transfer->done[transfer->count++].result = result;
	if (result > 0)
		transfer->moved += (uint32_t)result;
	if (result > 0 && transfer->moved < transfer->length && transfer->count < MOST_FIXED_IO)
		put_transfer(queue, entry);
	else
		end_transfer(queue, entry);
}

static void begin_transfer(struct queue *queue, struct entry *entry)
{
	const struct request *request = &entry->request;
	bool is_read = request->in.opcode == FUSE_READ;
	const struct fuse_read_in *in = &request->header->read; /* fuse_write_in starts with the same members */

	if (!is_read && (request->in.opcode != FUSE_WRITE || in->size != request->ent.payload_sz)) {
		reply(queue, entry, -EINVAL, 0);
		return;
	}
	entry->transfer.file_offset = in->offset;
	entry->transfer.length = in->size;
	put_transfer(queue, entry);
}

/* Whether a request's buffer is one of the pool's, with all that it is said to hold. */
static bool in_bounds(const struct queue *queue, const struct request *request)
{
	uint32_t copied = request->zero_copied ? 0 : request->ent.payload_sz;
	uint32_t offset = request->ent.offset;

	return offset % BUFFER_SIZE == 0 && offset <= queue->pool_size - BUFFER_SIZE && copied <= BUFFER_SIZE;
}

static void take_request(struct queue *queue, struct entry *entry)
{
	struct request *request = &entry->request;

	entry->transfer = (struct transfer){};
	*request = (struct request){.in = entry->header->in, .ent = entry->header->ent, .header = entry->header};
	request->zero_copied = request->ent.flags & ENT_ZERO_COPY;
	request->fd = descriptor_of(request->in.nodeid, &request->zero_copy_file);
	if (!in_bounds(queue, request)) {
		complain("%u bytes at %u are not in the pool", request->ent.payload_sz, request->ent.offset);
		reply(queue, entry, -EIO, 0);
		return;
	}
	request->buffer = queue->pool + request->ent.offset;
	if (request->zero_copied)
		begin_transfer(queue, entry);
	else
		reply_result(queue, entry, run(request));
}

static bool is_end_of_connection(int result)
{
	return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED;
}

static void take_command(struct queue *queue, struct entry *entry, int result)
{
	if (!entry->registered)
		log_setup(queue, REGISTER, entry, &result);
	else if (result < 0)
		log_end(queue, entry, result);
	entry->registered = true;
	if (result >= 0) {
		take_request(queue, entry);
		return;
	}
	queue->live--;
	if (!is_end_of_connection(result))
		complain("entry %u of queue %u was refused: %s", entry->index, queue->qid, strerror(-result));
}

static void take_completions(struct queue *queue)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	io_uring_for_each_cqe(&queue->ring, head, cqe) {
		struct entry *entry = &queue->entries[cqe->user_data & 0xffff];

		count++;
		if (cqe->user_data & STOP)
			queue->stopping = true;
		else if (cqe->user_data & MOVED)
			take_transfer(queue, entry, cqe->res);
		else
			take_command(queue, entry, cqe->res);
	}
	io_uring_cq_advance(&queue->ring, count);
}

/* What was taken out of the ring is answered even after the stop, for the log tells of it. */
static void serve(struct queue *queue)
{
	while (queue->live && (queue->moving || !queue->stopping)) {
		int result = io_uring_submit_and_wait(&queue->ring, 1);

		if (result < 0 && result != -EINTR) {
			complain("queue %u can't wait: %s", queue->qid, strerror(-result));
			return;
		}
		take_completions(queue);
	}
	io_uring_submit(&queue->ring);
	for (unsigned i = 0; i < options.entries; i++)
		if (!queue->entries[i].registered)
			log_setup(queue, REGISTER, &queue->entries[i], NULL);
}

/* Submit the one command that is in the ring, which completes at once. */
static int run_setup(struct queue *queue, enum command op)
{
	struct io_uring_cqe *cqe;
	int result = io_uring_submit_and_wait(&queue->ring, 1);

	if (result < 0)
		return result;
	result = io_uring_wait_cqe(&queue->ring, &cqe);
	if (result < 0)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(&queue->ring, cqe);
	log_setup(queue, op, NULL, &result);
	return result;
}

static int make_ring(struct queue *queue)
{
	return io_uring_queue_init(options.entries + 1, &queue->ring, IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER);
}

static int add_queue(struct queue *queue)
{
	put_command(queue, ADD_QUEUE, 0)->flags = options.mode == ZERO_COPY ? QUEUE_ZERO_COPY : 0;
	return run_setup(queue, ADD_QUEUE);
}

static int add_pool(struct queue *queue)
{
	struct command_area *area = put_command(queue, ADD_BUFPOOL, 0);

	area->bufpool.uaddr = (uintptr_t)queue->pool;
	area->bufpool.len = queue->pool_size;
	return run_setup(queue, ADD_BUFPOOL);
}

/* Fill the ring's table of registered buffers: with the pool, or with empty slots for the client's pages. */
static int register_buffers(struct queue *queue)
{
	struct iovec table[POOL_INDEX + 1] = {[POOL_INDEX] = {queue->pool, queue->pool_size}};

	if (options.mode == FIXED_POOL)
		return io_uring_register_buffers(&queue->ring, table, POOL_INDEX + 1);
	return options.mode == ZERO_COPY ? io_uring_register_buffers_sparse(&queue->ring, options.entries + 1) : 0;
}

static void *memory(size_t size)
{
	void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mapped == MAP_FAILED)
		FAIL("no memory: %m");
	return mapped;
}

static void allocate(struct queue *queue)
{
	struct ring_header *headers = memory(options.entries * sizeof(*headers));

	queue->pool_size = options.buffers * BUFFER_SIZE;
	queue->pool = memory(queue->pool_size);
	queue->entries = memory(options.entries * sizeof(*queue->entries));
	queue->live = options.entries;
	for (unsigned i = 0; i < options.entries; i++)
		queue->entries[i] = (struct entry){
			.index = i,
			.slot = (uint16_t)(options.entries - i), /* in the other order, so as not to be taken for the index */
			.header = &headers[i],
			.iovecs = {{&headers[i], sizeof(headers[i])}},
		};
}

/* And watch for the stop. */
static int register_entries(struct queue *queue)
{
	for (unsigned i = 0; i < options.entries; i++) {
		struct command_area *area = put_command(queue, REGISTER, i);

		if (options.mode == ZERO_COPY)
			area->slot = queue->entries[i].slot;
	}
	struct io_uring_sqe *sqe = next_sqe(queue, STOP);

	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = stop_fd;
	sqe->poll32_events = POLLIN;
	return io_uring_submit(&queue->ring);
}

static int set_up(struct queue *queue)
{
	int (*const steps[])(struct queue *) = {make_ring, register_buffers, add_queue, add_pool, register_entries};

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		int result = steps[i](queue);

		if (result < 0)
			return result;
	}
	return 0;
}

static void wake_main(void)
{
	eventfd_write(wake_fd, 1);
}

static void *live_as_queue(void *argument)
{
	struct queue *queue = argument;
	int error = set_up(queue);

	if (error)
		complain("queue %u can't be set up: %s", queue->qid, strerror(-error));
	sem_post(&queues_set_up);
	if (!error) {
		serve(queue);
		io_uring_queue_exit(&queue->ring);
	}
	wake_main();
	return NULL;
}

/* ---- The device: INIT, and what never comes by a ring. ---- */

#define DEVICE_BUFFER (BUFFER_SIZE + 8192)

static void answer_device(uint64_t unique, int error, const void *body, size_t size)
{
	struct fuse_out_header out = {.len = (uint32_t)(sizeof(out) + size), .error = error, .unique = unique};
	const struct iovec parts[] = {{&out, sizeof(out)}, {(void *)body, size}};

	if (writev(fuse_fd, parts, 2) < 0 && errno != ENOENT && errno != ENODEV)
		complain("/dev/fuse can't be written: %m");
}

static void take_device(const char *buffer)
{
	const struct fuse_in_header *in = (const void *)buffer;
	const struct fuse_forget_in *one = (const void *)(in + 1);
	const struct fuse_batch_forget_in *batch = (const void *)(in + 1);
	const struct fuse_forget_one *each = (const void *)(batch + 1);

	switch (in->opcode) {
	case FUSE_FORGET:
		forget(in->nodeid, one->nlookup);
		break;
	case FUSE_BATCH_FORGET:
		for (uint32_t i = 0; i < batch->count; i++)
			forget(each[i].nodeid, each[i].nlookup);
		break;
	case FUSE_INTERRUPT: /* nothing here takes long */
		break;
	default:
		answer_device(in->unique, -ENOSYS, NULL, 0);
	}
}

static void *live_as_device(void *argument)
{
	struct pollfd watched[] = {{fuse_fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
	char *buffer = argument;

	while (!watched[1].revents) {
		if (poll(watched, 2, -1) < 0)
			continue;
		ssize_t size = read(fuse_fd, buffer, DEVICE_BUFFER);

		if (size >= (ssize_t)sizeof(struct fuse_in_header)) {
			take_device(buffer);
		} else if (errno == ENODEV) {
			disconnected = true;
			break;
		}
	}
	wake_main();
	return NULL;
}

static void agree(char *buffer)
{
	const struct fuse_in_header *in = (const void *)buffer;
	const struct fuse_init_in *offer = (const void *)(in + 1);
	struct pollfd watched = {fuse_fd, POLLIN, 0};
	const uint32_t wanted = INIT2_OVER_IO_URING | INIT2_HAS_BUFPOOL;

	if (poll(&watched, 1, 10000) <= 0 || read(fuse_fd, buffer, DEVICE_BUFFER) < 0 || in->opcode != FUSE_INIT)
		FAIL("the kernel sent no INIT");
	if (!(offer->flags & FUSE_INIT_EXT) || (offer->flags2 & wanted) != wanted)
		FAIL("the kernel offers no FUSE over io_uring with buffer pools");
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = MINOR_VERSION,
		.max_readahead = offer->max_readahead,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_INIT_EXT,
		.flags2 = INIT2_OVER_IO_URING,
		.max_background = 64,
		.congestion_threshold = 48,
		.max_write = BUFFER_SIZE,
		.time_gran = 1,
		.max_pages = (uint16_t)(BUFFER_SIZE / (unsigned)sysconf(_SC_PAGESIZE)),
	};
	answer_device(in->unique, 0, &out, sizeof(out));
}

/* ---- The whole. ---- */

static unsigned possible_cpus(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned first, last, count = 0;

	if (!file)
		FAIL("the possible CPUs are not to be had: %m");
	while (fscanf(file, "%u", &first) == 1) {
		last = first;
		if (fscanf(file, "-%u", &last) < 0)
			last = first;
		count += last - first + 1;
		if (fgetc(file) != ',')
			break;
	}
	fclose(file);
	return count;
}

static void mount_it(void)
{
	char data[128];

	fuse_fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fuse_fd < 0)
		FAIL("/dev/fuse can't be opened: %m");
	snprintf(data, sizeof(data), "fd=%d,rootmode=40755,user_id=0,group_id=0", fuse_fd);
	if (mount("poolserver", options.mountpoint, "fuse.poolserver", MS_NOSUID | MS_NODEV, data) < 0)
		FAIL("%s can't be mounted on: %m", options.mountpoint);
	mounted = true;
}

static void start(pthread_t *thread, void *(*life)(void *), void *argument)
{
	int error = pthread_create(thread, NULL, life, argument);

	if (error)
		FAIL("no thread: %s", strerror(error));
}

static void wait_for_end(int signal_fd)
{
	struct pollfd watched[] = {{signal_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};

	while (poll(watched, 2, -1) < 0)
		;
}

static void serve_all(int signal_fd, char *device_buffer)
{
	unsigned count = possible_cpus();
	struct queue *queues = memory(count * sizeof(*queues));
	pthread_t device;

	start(&device, live_as_device, device_buffer);
	for (unsigned i = 0; i < count; i++) {
		queues[i].qid = (uint16_t)i;
		allocate(&queues[i]);
		start(&queues[i].thread, live_as_queue, &queues[i]);
	}
	for (unsigned i = 0; i < count; i++)
		while (sem_wait(&queues_set_up) < 0)
			;
	if (!failed) {
		puts("ready");
		fflush(stdout);
		wait_for_end(signal_fd);
	}
	/* While the threads still serve: it may write back what clients have changed in mapped memory. */
	if (!disconnected && umount2(options.mountpoint, MNT_DETACH) < 0 && errno != EINVAL)
		complain("%s can't be unmounted: %m", options.mountpoint);
	eventfd_write(stop_fd, 1);
	pthread_join(device, NULL);
	for (unsigned i = 0; i < count; i++)
		pthread_join(queues[i].thread, NULL);
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !value || value > 1024)
		FAIL("%s is no number from 1 to 1024", text);
	return (unsigned)value;
}

static enum mode mode_named(const char *text)
{
	for (unsigned i = 0; i < sizeof(MODES) / sizeof(*MODES); i++)
		if (!strcmp(MODES[i], text))
			return i;
	FAIL("there is no mode %s", text);
}

static void parse(int argc, char **argv)
{
	static const struct option LONG[] = {
		{"mode", required_argument, NULL, 'm'},    {"entries", required_argument, NULL, 'e'},
		{"buffers", required_argument, NULL, 'b'}, {"zero-copy-names", required_argument, NULL, 'z'},
		{"log", required_argument, NULL, 'l'},     {"direct", no_argument, NULL, 'd'},
		{},
	};

	for (int option; (option = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
		switch (option) {
		case 'm': options.mode = mode_named(optarg); break;
		case 'e': options.entries = number(optarg); break;
		case 'b': options.buffers = number(optarg); break;
		case 'z': options.zero_copy_names = optarg; break;
		case 'l': options.log = optarg; break;
		case 'd': options.direct = true; break;
		default: exit(2);
		}
	}
	if (argc - optind != 2)
		FAIL("give a directory to pass through, and one to mount on");
	options.backing = argv[optind];
	options.mountpoint = argv[optind + 1];
}

int main(int argc, char **argv)
{
	sigset_t ending;

	parse(argc, argv);
	umask(0); /* the kernel has applied the client's */
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	pthread_sigmask(SIG_BLOCK, &ending, NULL);
	int signal_fd = signalfd(-1, &ending, SFD_CLOEXEC);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	wake_fd = eventfd(0, EFD_CLOEXEC);
	sem_init(&queues_set_up, 0, 0);
	log_file = fopen(options.log ? options.log : "/dev/null", "we");
	if (!log_file)
		FAIL("%s can't be written: %m", options.log);
	backing_fd = open(options.backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (backing_fd < 0)
		FAIL("%s can't be opened: %m", options.backing);
	char *device_buffer = memory(DEVICE_BUFFER);
	mount_it();
	agree(device_buffer);
	serve_all(signal_fd, device_buffer);
	if (fclose(log_file))
		complain("the log is not complete: %m");
	return failed ? 1 : 0;
}
