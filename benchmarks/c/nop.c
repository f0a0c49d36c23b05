/*
 * The floor: NOPs in batches, as a C program does it with liburing's own functions.
 *
 *     nop BATCHES PER_SUBMIT
 *
 * Prints the wall, user and system nanoseconds of all batches. Every completion is counted and looked at.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "liburing.h"

static int batch(struct io_uring *ring, unsigned count)
{
	struct io_uring_cqe *cqe;
	unsigned head, seen = 0, wrong = 0;
	int ret;

	for (unsigned i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		if (!sqe)
			return fail("io_uring_get_sqe", ENOSPC);
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data64(sqe, i);
	}
	ret = io_uring_submit_and_wait(ring, count);
	if (ret < 0)
		return fail("io_uring_submit_and_wait", -ret);
	io_uring_for_each_cqe(ring, head, cqe) {
		wrong += cqe->user_data != seen || cqe->res;
		seen++;
	}
	io_uring_cq_advance(ring, seen);
	return wrong || seen != count ? fail("completions differ from the requests", EIO) : 0;
}

int main(int argc, char **argv)
{
	unsigned batches = argc > 1 ? atoi(argv[1]) : 1, count = argc > 2 ? atoi(argv[2]) : 32;
	struct io_uring ring;
	struct taken start;
	int ret = io_uring_queue_init(2 * count, &ring, 0);

	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	if (batch(&ring, count))	/* the first touches memory that is not there yet */
		return 1;
	start = now();
	for (unsigned i = 0; i < batches; i++)
		if (batch(&ring, count))
			return 1;
	print_since(start);
	io_uring_queue_exit(&ring);
	return 0;
}
