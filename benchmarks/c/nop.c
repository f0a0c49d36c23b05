/*
 * The floor: NOPs in batches, as a C program does it with liburing's own functions.
 *
 *     nop BATCHES PER_SUBMIT
 *
 * Prints the wall-clock and the CPU nanoseconds of all batches. Every completion is counted and looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "liburing.h"

static long long now(clockid_t clock)
{
	struct timespec spec;

	clock_gettime(clock, &spec);
	return spec.tv_sec * 1000000000LL + spec.tv_nsec;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	return 1;
}

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
	long long wall, cpu;
	int ret = io_uring_queue_init(2 * count, &ring, 0);

	if (ret < 0)
		return fail("io_uring_queue_init", -ret);
	if (batch(&ring, count))	/* the first touches memory that is not there yet */
		return 1;
	wall = now(CLOCK_MONOTONIC);
	cpu = now(CLOCK_PROCESS_CPUTIME_ID);
	for (unsigned i = 0; i < batches; i++)
		if (batch(&ring, count))
			return 1;
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = now(CLOCK_MONOTONIC) - wall;
	printf("%lld %lld\n", wall, cpu);
	io_uring_queue_exit(&ring);
	return 0;
}
