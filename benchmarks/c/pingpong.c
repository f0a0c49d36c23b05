/*
 * Messages there and back: the peer that sends back what it gets, and the floor of the other side.
 *
 *     pingpong mode=echo|plain|ring in=FD out=FD size=BYTES [count=N] [setup=FLAGS] [latencies=PATH]
 *
 * The descriptors are inherited; for a socket both are the same. `echo` ends at the end of its input. `plain` uses write
 * and read; `ring` submits both together, in one system call. `latencies` gets the nanoseconds of each round trip,
 * 64-bit integers.
 */
#include "bench.h"
#include "liburing.h"

static struct io_uring ring;
static char *outgoing, *incoming;
static size_t size;
static int in, out;

/* Read a whole message; 0 at the end of the input, -1 with errno. */
static int take(char *message)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = read(in, message + done, size - done);

		if (got <= 0)
			return got;
		done += got;
	}
	return 1;
}

static int echo(void)
{
	int got;

	while ((got = take(incoming)) > 0)
		if (write(out, incoming, size) != (ssize_t) size)
			return fail("write", errno ? errno : EIO);
	return got < 0 ? fail("read", errno) : 0;
}

static int plain(void)
{
	if (write(out, outgoing, size) != (ssize_t) size)
		return fail("write", errno ? errno : EIO);
	return take(incoming) > 0 ? 0 : fail("read", errno ? errno : EPIPE);
}

static int by_ring(void)
{
	struct io_uring_sqe *there = io_uring_get_sqe(&ring), *back = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, wrong = 0;
	int ret;

	io_uring_prep_write(there, out, outgoing, size, 0);
	io_uring_prep_read(back, in, incoming, size, 0);
	ret = io_uring_submit_and_wait(&ring, 2);
	if (ret < 0)
		return fail("io_uring_submit_and_wait", -ret);
	io_uring_for_each_cqe(&ring, head, cqe) {
		wrong += cqe->res != (int) size;
		seen++;
	}
	io_uring_cq_advance(&ring, seen);
	return wrong || seen != 2 ? fail("a message", EIO) : 0;
}

int main(int argc, char **argv)
{
	const char *mode = text(argv, "mode"), *taken = text(argv, "latencies");
	size_t count = number(argv, "count", 1);
	int64_t *latencies = malloc(count * sizeof(*latencies));
	int (*turn)(void) = mode && !strcmp(mode, "ring") ? by_ring : plain, ret;
	struct moment start;

	size = number(argv, "size", 64);
	in = number(argv, "in", 0);
	out = number(argv, "out", 1);
	outgoing = pages(size);
	incoming = pages(size);
	if (!mode || !latencies || !outgoing || !incoming)
		return fail("mode", EINVAL);
	if (!strcmp(mode, "echo"))
		return echo();
	ret = io_uring_queue_init(8, &ring, number(argv, "setup", 0));
	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	io_uring_register_ring_fd(&ring);
	if (turn())
		return 1;
	start = now();
	for (size_t i = 0; i < count; i++) {
		int64_t began = clock_ns(CLOCK_MONOTONIC);

		if (turn())
			return 1;
		latencies[i] = clock_ns(CLOCK_MONOTONIC) - began;
	}
	print_taken(start);
	if (memcmp(outgoing, incoming, size))
		return fail("what came back", EIO);
	return taken ? dump(taken, latencies, count * sizeof(*latencies)) : 0;
}
