/*
 * The floor for many reads or writes: a sliding window over given places, as a C program does it with liburing.
 *
 *     window PATH OFFSETS COUNT SIZE DEPTH DIRECT REGISTERED WRITE SETUP
 *
 * OFFSETS is a file of 64-bit integers, the first COUNT of which are used; DIRECT, REGISTERED (file and buffers) and
 * WRITE are 0 or 1; SETUP are IORING_SETUP_* flags. There is a buffer for each request of the window. Up to 32 requests are
 * prepared for a submit, and a wait is for a quarter of what is in flight. Each result is looked at.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "liburing.h"

enum { BATCH = 32 };

static struct io_uring ring;
static unsigned size, depth, registered, writes;
static int fd;
static char *memory;
static unsigned *idle;	/* a stack of buffers that nothing uses */
static unsigned idle_count;

static void prepare(struct io_uring_sqe *sqe, unsigned buffer, long long offset)
{
	char *where = memory + (size_t) buffer * size;

	if (registered && writes)
		io_uring_prep_write_fixed(sqe, 0, where, size, offset, 0);
	else if (registered)
		io_uring_prep_read_fixed(sqe, 0, where, size, offset, 0);
	else if (writes)
		io_uring_prep_write(sqe, fd, where, size, offset);
	else
		io_uring_prep_read(sqe, fd, where, size, offset);
	if (registered)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, buffer);
}

static int run(const long long *offsets, size_t count)
{
	size_t next = 0, done = 0;
	unsigned in_flight = 0;

	while (done < count) {
		unsigned queued = 0, seen = 0, head, wanted = 0;
		struct io_uring_cqe *cqe;
		int ret;

		while (queued < BATCH && next < count && idle_count) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			if (!sqe)
				break;
			prepare(sqe, idle[--idle_count], offsets[next++]);
			queued++;
		}
		in_flight += queued;
		if (next == count || !idle_count) {
			wanted = in_flight / 4 < BATCH ? in_flight / 4 : BATCH;
			wanted = wanted ? wanted : 1;
		}
		ret = io_uring_submit_and_wait(&ring, wanted);
		if (ret < 0)
			return fail("io_uring_submit_and_wait", -ret);
		io_uring_for_each_cqe(&ring, head, cqe) {
			if (cqe->res != (int) size)
				return fail("a transfer", cqe->res < 0 ? -cqe->res : EIO);
			idle[idle_count++] = cqe->user_data;
			seen++;
		}
		io_uring_cq_advance(&ring, seen);
		in_flight -= seen;
		done += seen;
	}
	return 0;
}

static int set_up(unsigned flags)
{
	struct iovec all = { memory, (size_t) depth * size };
	int ret = io_uring_queue_init(depth < 64 ? 64 : depth, &ring, flags);

	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	if (registered && (ret = io_uring_register_buffers(&ring, &all, 1)) < 0)
		return fail("io_uring_register_buffers", -ret);
	if (registered && (ret = io_uring_register_files(&ring, &fd, 1)) < 0)
		return fail("io_uring_register_files", -ret);
	if (!(flags & IORING_SETUP_SQPOLL) && (ret = io_uring_register_ring_fd(&ring)) < 0)
		return fail("io_uring_register_ring_fd", -ret);
	return 0;
}

int main(int argc, char **argv)
{
	size_t count;
	long long *offsets;
	struct taken start;

	if (argc != 10)
		return fail("nine arguments are needed", EINVAL);
	count = strtoull(argv[3], NULL, 10);
	size = atoi(argv[4]);
	depth = atoi(argv[5]);
	registered = atoi(argv[7]);
	writes = atoi(argv[8]);
	offsets = read_offsets(argv[2], count);
	fd = open(argv[1], (writes ? O_RDWR : O_RDONLY) | (atoi(argv[6]) ? O_DIRECT : 0));
	memory = pages((size_t) depth * size);
	idle = malloc(depth * sizeof(*idle));
	if (!offsets || fd < 0 || !memory || !idle)
		return fail(argv[1], errno);
	for (idle_count = 0; idle_count < depth; idle_count++)
		idle[idle_count] = idle_count;
	if (set_up(atoi(argv[9])) || run(offsets, count < depth ? count : depth))
		return 1;
	start = now();
	if (run(offsets, count))
		return 1;
	print_since(start);
	io_uring_queue_exit(&ring);
	return 0;
}
