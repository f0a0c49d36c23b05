/*
 * The fast lane from Python: calls that do in one crossing what takes five through liburing's own functions.
 *
 * A crossing from Python into C costs 100 to 225 ns, so the unit of work here is a whole request (get the SQE,
 * prepare it, tag it) or a whole batch of completions. Every call takes a struct uring_ring, which names the
 * ring, its owner, and the array that completions are copied to. The caller owns all memory.
 */
#ifndef URING_NATIVE_H
#define URING_NATIVE_H

#include <stdint.h>
#include "liburing.h"

/* What a call answers instead of touching a queue that it must not touch; other negative values are -errno. */
enum uring_refusal {
	URING_FULL = -EAGAIN,		/* no free SQE: submit, then call again */
	URING_WRONG_THREAD = -EEXIST,	/* the kernel's own answer to a foreign thread under SINGLE_ISSUER */
	URING_FORKED = -ECHILD,		/* this process is a fork of the ring's owner */
	URING_CLOSED = -EBADF,		/* the ring was detached, or is NULL */
	URING_NO_BIG_SQE = -EINVAL,	/* a 128-byte SQE on a ring with neither SQE128 nor SQE_MIXED */
};

/* Special owners; a thread's own number (uring_thread) is never one of them. */
enum uring_owner {
	URING_OWNER_CLOSED = 0,
	URING_OWNER_FORKED = 1,
	URING_OWNER_FIRST_THREAD = 2,
};

/* One CQE, copied out: the first 16 bytes of every CQE format. */
struct uring_completion {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct uring_ring {
	struct io_uring *ring;
	uint64_t owner;				/* the uring_thread() that may use the ring */
	struct uring_completion *completions;	/* where reaped CQEs are copied to */
	uint64_t (*extra)[2];			/* the upper half of 32-byte CQEs, or NULL to leave it out */
	uint32_t room;				/* how many of them fit */
	int32_t error;				/* what the last submit or wait returned when negative, else 0 */
	uint64_t submitted;			/* SQEs that the kernel has taken since attach */
	uint64_t reaped;			/* CQEs copied out since attach */
};

/* A number for the calling thread, never used again after it ends; the same in a fork's child. */
uint64_t uring_thread(void);

/* Copy out what is ready, at most `room`: the number copied, or a refusal. Enters the kernel only to flush. */
int uring_reap(struct uring_ring *r);

/* Submit what is queued: the number of SQEs taken, or -errno, or a refusal. */
int uring_submit(struct uring_ring *r);

/*
 * Submit what is queued, wait until `wait_nr` CQEs are ready or `timeout_ns` have passed (negative: without limit),
 * copy out what is ready. Returns the number copied; -errno (-EINTR, -ETIME, -EBUSY, ...) only when that is none.
 */
int uring_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns);

/* The answer to a call by somebody else than the owner. */
int uring_refuse(const struct uring_ring *r);

/* Private to C: the thread's number, 0 before its first use. Read inline by every fused call. */
extern __thread uint64_t uring_thread_number;

static inline int uring_mine(const struct uring_ring *r)
{
	return r && __builtin_expect(r->owner == uring_thread_number, 1) && r->owner >= URING_OWNER_FIRST_THREAD;
}

/*
 * A fused call's options, packed so that they cost one argument:
 * bits 0-7 SQE flags, 8-23 ioprio, 24-39 personality, 40-55 buffer group.
 */
static inline void uring_apply(struct io_uring_sqe *sqe, uint64_t user_data, uint64_t options)
{
	sqe->user_data = user_data;
	/* Or-ed in after the prepare call: some of those assign flags and ioprio. */
	sqe->flags |= (uint8_t) options;
	sqe->ioprio |= (uint16_t) (options >> 8);
	sqe->personality |= (uint16_t) (options >> 24);
	sqe->buf_group |= (uint16_t) (options >> 40);
}

#endif
