/*
 * The floor of a log: a record is written, and is on the disk before the next one is.
 *
 *     wal file=PATH count=N records=PATH size=BYTES linked=0|1 [setup=FLAGS] [latencies=PATH]
 *
 * `records` holds all of them, one behind the other. Linked: a write and an fdatasync, submitted together; else two
 * system calls. `latencies` gets the nanoseconds of each, 64-bit integers.
 */
#include "bench.h"
#include "liburing.h"

static struct io_uring ring;
static size_t size;
static int fd;

static int linked(const char *record, int64_t offset)
{
	struct io_uring_sqe *write = io_uring_get_sqe(&ring), *sync = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, wrong = 0;
	int ret;

	io_uring_prep_write(write, fd, record, size, offset);
	write->flags |= IOSQE_IO_LINK;
	io_uring_sqe_set_data64(write, size);
	io_uring_prep_fsync(sync, fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data64(sync, 0);
	ret = io_uring_submit_and_wait(&ring, 2);
	if (ret < 0)
		return fail("io_uring_submit_and_wait", -ret);
	io_uring_for_each_cqe(&ring, head, cqe) {
		wrong += cqe->res != (int) cqe->user_data;
		seen++;
	}
	io_uring_cq_advance(&ring, seen);
	return wrong || seen != 2 ? fail("a record", EIO) : 0;
}

static int plain(const char *record, int64_t offset)
{
	if (pwrite(fd, record, size, offset) != (ssize_t) size)
		return fail("pwrite", errno ? errno : EIO);
	return fdatasync(fd) ? fail("fdatasync", errno) : 0;
}

int main(int argc, char **argv)
{
	const char *path = text(argv, "file"), *taken = text(argv, "latencies"), *records;
	size_t count = number(argv, "count", 1), bytes = 0;
	int (*append)(const char *, int64_t) = number(argv, "linked", 0) ? linked : plain;
	int64_t *latencies = malloc(count * sizeof(*latencies));
	struct moment start;
	int ret;

	size = number(argv, "size", 4096);
	records = contents(text(argv, "records"), &bytes);
	fd = path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0 || !records || bytes < count * size || !latencies)
		return fail("file, records", errno ? errno : EINVAL);
	ret = io_uring_queue_init(8, &ring, number(argv, "setup", 0));
	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	io_uring_register_ring_fd(&ring);
	start = now();
	for (size_t i = 0; i < count; i++) {
		int64_t began = clock_ns(CLOCK_MONOTONIC);

		if (append(records + i * size, i * size))
			return 1;
		latencies[i] = clock_ns(CLOCK_MONOTONIC) - began;
	}
	print_taken(start);
	return taken ? dump(taken, latencies, count * sizeof(*latencies)) : 0;
}
