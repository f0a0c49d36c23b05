/*
 * The floor of a request: NOPs in batches, as a C program does it with liburing's own functions.
 *
 *     nop count=N per_submit=N [setup=FLAGS] [waiting=N]
 *
 * With `waiting` so many polls, of a pipe that stays empty, are in flight meanwhile. Every completion is counted and
 * looked at.
 */
#include <poll.h>
#include "bench.h"
#include "liburing.h"

static struct io_uring ring;

static int batch(unsigned count)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, wrong = 0;
	int ret;

	for (unsigned i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (!sqe)
			return fail("io_uring_get_sqe", ENOSPC);
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data64(sqe, i);
	}
	ret = io_uring_submit_and_wait(&ring, count);
	if (ret < 0)
		return fail("io_uring_submit_and_wait", -ret);
	io_uring_for_each_cqe(&ring, head, cqe) {
		wrong += cqe->user_data != seen || cqe->res;
		seen++;
	}
	io_uring_cq_advance(&ring, seen);
	return wrong || seen != count ? fail("completions differ from the requests", EIO) : 0;
}

static int run(size_t count, unsigned per_submit)
{
	for (size_t done = 0; done < count; done += per_submit)
		if (batch(count - done < per_submit ? count - done : per_submit))
			return 1;
	return 0;
}

static int leave_waiting(unsigned count)
{
	int ends[2], ret;

	if (count && pipe(ends))
		return fail("pipe", errno);
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (!sqe) {
			ret = io_uring_submit(&ring);
			if (ret < 0)
				return fail("io_uring_submit", -ret);
			sqe = io_uring_get_sqe(&ring);
		}
		io_uring_prep_poll_add(sqe, ends[0], POLLIN);
		io_uring_sqe_set_data64(sqe, UINT64_MAX >> 8);
	}
	ret = io_uring_submit(&ring);
	return ret < 0 ? fail("io_uring_submit", -ret) : 0;
}

int main(int argc, char **argv)
{
	size_t count = number(argv, "count", 1);
	unsigned per_submit = number(argv, "per_submit", 32);
	struct moment start;
	int ret = io_uring_queue_init(per_submit < 64 ? 64 : per_submit, &ring, number(argv, "setup", 0));

	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	io_uring_register_ring_fd(&ring);
	if (leave_waiting(number(argv, "waiting", 0)))
		return 1;
	if (batch(per_submit))	/* the first touches memory that is not there yet */
		return 1;
	start = now();
	if (run(count, per_submit))
		return 1;
	print_taken(start);
	return 0;	/* what is waiting ends with the process */
}
