/*
 * The floor: 4 KiB reads at given places, so many for each submit, as a C program does it with liburing's own functions.
 *
 *     reads BATCHES PER_BATCH PATH DEPTH DIRECT BUFFERS FILES SETUP
 *
 * DIRECT, BUFFERS and FILES are 0 or 1: O_DIRECT, registered buffers, a registered file. Prints the wall, user
 * and system nanoseconds of all batches. Each result is looked at, and what the last reads brought is compared with the file.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "liburing.h"

#define SIZE 4096
#define MOST 128

static struct io_uring ring;
static unsigned depth, blocks, buffers, files;
static unsigned place;	/* of the next block: see `places` in registered.py */
static char *memory;
static int fd;

static int turn(__u64 *offsets)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, wrong = 0;
	int ret;

	for (unsigned i = 0; i < depth; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (!sqe)
			return fail("io_uring_get_sqe", ENOSPC);
		place = (place * 1103515245u + 12345u) % blocks;
		offsets[i] = (__u64)place * SIZE;
		if (buffers)
			io_uring_prep_read_fixed(sqe, files ? 0 : fd, memory + i * SIZE, SIZE, offsets[i], i);
		else
			io_uring_prep_read(sqe, files ? 0 : fd, memory + i * SIZE, SIZE, offsets[i]);
		if (files)
			sqe->flags |= IOSQE_FIXED_FILE;
		io_uring_sqe_set_data64(sqe, i);
	}
	ret = io_uring_submit_and_wait(&ring, depth);
	if (ret < 0)
		return fail("io_uring_submit_and_wait", -ret);
	io_uring_for_each_cqe(&ring, head, cqe) {
		wrong += cqe->res != SIZE;
		seen++;
	}
	io_uring_cq_advance(&ring, seen);
	return wrong || seen != depth ? fail("completions differ from the requests", EIO) : 0;
}

static int verify(const char *path, const __u64 *offsets)
{
	static char expected[SIZE];
	int plain = open(path, O_RDONLY);

	if (plain < 0)
		return fail(path, errno);
	for (unsigned i = 0; i < depth; i++)
		if (pread(plain, expected, SIZE, offsets[i]) != SIZE || memcmp(expected, memory + i * SIZE, SIZE))
			return fail("what was read differs from the file", EIO);
	return close(plain);
}

static int registered(void)
{
	struct iovec iovecs[MOST];
	int ret;

	for (unsigned i = 0; i < depth; i++)
		iovecs[i] = (struct iovec) { memory + i * SIZE, SIZE };
	if (buffers && (ret = io_uring_register_buffers(&ring, iovecs, depth)) < 0)
		return fail("io_uring_register_buffers", -ret);
	if (files && (ret = io_uring_register_files(&ring, &fd, 1)) < 0)
		return fail("io_uring_register_files", -ret);
	ret = io_uring_register_ring_fd(&ring);
	return ret < 0 ? fail("io_uring_register_ring_fd", -ret) : 0;
}

int main(int argc, char **argv)
{
	__u64 offsets[MOST];
	struct stat found;
	struct taken start, end;
	unsigned turns;
	int ret;

	if (argc != 9)
		return fail("eight arguments are needed", EINVAL);
	depth = atoi(argv[4]);
	turns = atoi(argv[1]) * (atoi(argv[2]) / depth);
	buffers = atoi(argv[6]);
	files = atoi(argv[7]);
	fd = open(argv[3], O_RDONLY | (atoi(argv[5]) ? O_DIRECT : 0));
	if (fd < 0 || fstat(fd, &found))
		return fail(argv[3], errno);
	blocks = found.st_size / SIZE;
	if (!blocks)
		return fail(argv[3], ENODATA);
	memory = mmap(NULL, MOST * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return fail("mmap", errno);
	ret = io_uring_queue_init(2 * MOST, &ring, atoi(argv[8]));
	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	if (registered() || turn(offsets))	/* the first touches memory that is not there yet */
		return 1;
	start = now();
	for (unsigned i = 0; i < turns; i++)
		if (turn(offsets))
			return 1;
	end = now();
	if (verify(argv[3], offsets))
		return 1;
	printf("%lld %lld %lld\n", end.wall - start.wall, end.user - start.user, end.system - start.system);
	io_uring_queue_exit(&ring);
	return 0;
}
