/*
 * The floor for many reads or writes of a file: a sliding window, as a C program does it with liburing's own functions.
 *
 *     window file=PATH offsets=PATH count=N size=BYTES depth=N [slots=N] [setup=FLAGS] [idle=MS] [direct=1]
 *            [buffers=1] [files=1] [write=1] [sync_every=N] [dump=PATH]
 *
 * `offsets` holds 64-bit integers; they are used again from the start when `count` is larger. Requests use `slots`
 * buffers in turn, `depth` of them by default. Up to 32 requests are prepared for each submit; when `depth` are in
 * flight it waits for a quarter of them, 32 at most. `setup` are IORING_SETUP_* flags, `idle` is the SQPOLL thread's.
 * `buffers` and `files` register. After each `sync_every` writes, and after the last one, the file is flushed by an
 * fdatasync. `dump` gets the buffers at the end. Every result is looked at.
 */
#include "bench.h"
#include "liburing.h"

enum { BATCH = 32 };

static struct io_uring ring;
static const int64_t *offsets;
static size_t places;
static unsigned size, depth, batch, slots;
static int fd, buffers, files, writes;
static char *memory;

static void prepare(struct io_uring_sqe *sqe, size_t index)
{
	char *where = memory + index % slots * size;
	int64_t offset = offsets[index % places];
	int file = files ? 0 : fd;

	if (writes && buffers)
		io_uring_prep_write_fixed(sqe, file, where, size, offset, 0);
	else if (writes)
		io_uring_prep_write(sqe, file, where, size, offset);
	else if (buffers)
		io_uring_prep_read_fixed(sqe, file, where, size, offset, 0);
	else
		io_uring_prep_read(sqe, file, where, size, offset);
	if (files)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, index);
}

/* Submit, wait for so many, and look at what is complete: how many, or -1. */
static int turn(unsigned wanted, int expected)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0;
	int ret = io_uring_submit_and_wait(&ring, wanted);

	if (ret < 0) {
		fail("io_uring_submit_and_wait", -ret);
		return -1;
	}
	io_uring_for_each_cqe(&ring, head, cqe) {
		if (cqe->res != expected) {
			fail("a transfer", cqe->res < 0 ? -cqe->res : EIO);
			return -1;
		}
		seen++;
	}
	io_uring_cq_advance(&ring, seen);
	return seen;
}

static int flush(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	int seen = 0;

	if (!sqe)
		return fail("io_uring_get_sqe", ENOSPC);
	io_uring_prep_fsync(sqe, files ? 0 : fd, IORING_FSYNC_DATASYNC);
	if (files)
		sqe->flags |= IOSQE_FIXED_FILE;
	while (!seen)
		if ((seen = turn(1, 0)) < 0)
			return 1;
	return 0;
}

/* Requests from `next` to `end`, all complete at the end. */
static int run(size_t next, size_t end)
{
	unsigned in_flight = 0;

	while (next < end || in_flight) {
		unsigned queued = 0, wanted = 0;
		int seen;

		while (queued < batch && next < end && in_flight < depth) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			if (!sqe)
				break;
			prepare(sqe, next++);
			queued++;
			in_flight++;
		}
		if (next == end || in_flight == depth) {
			wanted = in_flight / 4 < batch ? in_flight / 4 : batch;
			wanted = wanted ? wanted : 1;
		} else if (queued < batch) {
			io_uring_sqring_wait(&ring);	/* SQPOLL: its thread has not yet taken what is queued */
		}
		seen = turn(wanted, size);
		if (seen < 0)
			return 1;
		in_flight -= seen;
	}
	return 0;
}

static int run_all(size_t count, size_t sync_every)
{
	size_t step = sync_every ? sync_every : count;

	for (size_t next = 0; next < count; next += step) {
		if (run(next, next + step < count ? next + step : count))
			return 1;
		if (sync_every && flush())
			return 1;
	}
	return 0;
}

static int set_up(unsigned flags, unsigned idle)
{
	struct io_uring_params params = { .flags = flags, .sq_thread_idle = idle };
	struct iovec all = { memory, (size_t) slots * size };
	int ret = io_uring_queue_init_params(depth < 64 ? 64 : depth, &ring, &params);

	if (ret < 0)
		return fail("io_uring_queue_init_params", -ret);
	if (buffers && (ret = io_uring_register_buffers(&ring, &all, 1)) < 0)
		return fail("io_uring_register_buffers", -ret);
	if (files && (ret = io_uring_register_files(&ring, &fd, 1)) < 0)
		return fail("io_uring_register_files", -ret);
	if (!(flags & IORING_SETUP_SQPOLL) && (ret = io_uring_register_ring_fd(&ring)) < 0)
		return fail("io_uring_register_ring_fd", -ret);
	return 0;
}

int main(int argc, char **argv)
{
	const char *path = text(argv, "file"), *dumped = text(argv, "dump");
	size_t count = number(argv, "count", 1), bytes = 0;
	struct moment start;

	size = number(argv, "size", 4096);
	depth = number(argv, "depth", 32);
	batch = depth < BATCH ? depth : BATCH;
	slots = number(argv, "slots", depth);
	buffers = number(argv, "buffers", 0);
	files = number(argv, "files", 0);
	writes = number(argv, "write", 0);
	offsets = contents(text(argv, "offsets"), &bytes);
	places = bytes / sizeof(*offsets);
	if (!path || !places)
		return fail("file, offsets", EINVAL);
	fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | (number(argv, "direct", 0) ? O_DIRECT : 0));
	memory = pages((size_t) slots * size);
	if (fd < 0 || !memory)
		return fail(path, errno);
	/* What is written is the file's own first block: see `block` in rivals.py. */
	if (writes && pread(fd, memory, size, 0) != size)
		return fail(path, EIO);
	for (unsigned slot = 1; writes && slot < slots; slot++)
		memcpy(memory + (size_t) slot * size, memory, size);
	if (set_up(number(argv, "setup", 0), number(argv, "idle", 0)))
		return 1;
	if (!dumped && !writes && run(0, count < depth ? count : depth))	/* touches what is not there yet */
		return 1;
	start = now();
	if (run_all(count, number(argv, "sync_every", 0)))
		return 1;
	print_taken(start);
	if (dumped && dump(dumped, memory, (size_t) slots * size))
		return 1;
	io_uring_queue_exit(&ring);
	return 0;
}
