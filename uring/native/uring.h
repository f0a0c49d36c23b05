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

/*
 * Managed requests: when `outcomes` is set, a fused call ignores its tag, takes a free slot and returns the slot's
 * number. Its user_data is a mark, the slot's generation and the slot, so that a CQE that comes late reaches no newer
 * request. Reaping turns user_data back into slots, drops stale CQEs, and frees a slot at its last CQE, all in C:
 * Python indexes a list by small numbers.
 */
#define URING_MARK UINT64_C(0x5A)
#define URING_SLOT_BITS 24
#define URING_SLOT_BUSY (-2)
/* The user_data of a CQE that only ends a wait: it fits no slot, and reaping drops it as stale. */
#define URING_WAKE (URING_MARK << 56 | ((UINT64_C(1) << 56) - 2))

/* The same for a cancel that a bulk call asks for: it is only counted. */
#define URING_BULK_CANCEL (URING_MARK << 56 | ((UINT64_C(1) << 56) - 3))

/*
 * A user_data with our mark, this in place of a slot, and a serial number in place of a generation is the tag of a
 * registered resource: its CQE tells that the kernel has let go of it. Reaping copies it out like a foreign one.
 * The serial number of all ones is nobody's: CQEs with it are dropped. The slot itself is never used.
 */
#define URING_TAG_SLOT 0xFFFFFF
#define URING_NO_TAG 0xFFFFFFFF

struct uring_slot {
	uint32_t generation;
	int32_t next_free;	/* the next free slot, -1 at the end, URING_SLOT_BUSY while in use, less in a bulk call's */
};

/* A CQE of a ring with managed requests. */
struct uring_outcome {
	int32_t slot;		/* -1: queued by somebody else, or a tag; its user_data is in completions[] at this index */
	int32_t res;
	uint32_t flags;
};

struct uring_bulk;	/* see bulk.h */

struct uring_ring {
	struct io_uring *ring;
	uint64_t owner;				/* the uring_thread() that may use the ring */
	struct uring_completion *completions;	/* where reaped CQEs are copied to */
	struct uring_outcome *outcomes;		/* the same for a ring with managed requests, else NULL */
	uint64_t (*extra)[2];			/* the upper half of 32-byte CQEs, or NULL to leave it out */
	uint32_t room;				/* how many of them fit */
	int32_t error;				/* what the last submit or wait returned when negative, else 0 */
	uint32_t filled;			/* how many completions the last reap or wait copied */
	int32_t last_slot;			/* the slot taken last, -1 when it is free again */
	struct uring_slot *slots;
	uint32_t slot_count;
	int32_t first_free;
	int32_t first_resting;			/* slots whose last CQE is copied and not handed out yet: see uring_slot_rest */
	int32_t last_resting;
	uint32_t in_flight;			/* slots in use */
	uint64_t managed;			/* managed requests queued since attach */
	uint32_t taken_head;			/* private: how far the kernel, or the flush to its thread, has come */
	uint64_t submitted;			/* SQEs that the kernel has taken since attach */
	uint64_t reaped;			/* CQEs copied out since attach */
	uint64_t batches;			/* reaps that copied any */
	uint32_t woken;				/* a wake that has cut no wait short yet; shared with other threads */
	uint32_t waiting;			/* the CQEs that the owner waits for in uring_wake_wait, else 0; the same */
	struct uring_bulk *bulk;		/* the bulk call that runs, the innermost one */
	uint32_t bulk_cancels;			/* cancels that bulk calls have asked for, without their CQE */
};

/* A number for the calling thread, never used again after it ends; the same in a fork's child. */
uint64_t uring_thread(void);

/* Copy out what is ready, at most `room`: the number copied, or a refusal. Enters the kernel only to flush. */
int uring_reap(struct uring_ring *r);

/* Submit what is queued: the number of SQEs taken, or -errno, or a refusal. */
int uring_submit(struct uring_ring *r);

/* Start counting submissions at the queue's present state. */
void uring_count_from_here(struct uring_ring *r);

/*
 * Submit what is queued, wait until `wait_nr` CQEs are ready or `timeout_ns` have passed (negative: without limit),
 * copy out what is ready. Returns the number copied; -errno (-EINTR, -ETIME, -EBUSY, ...) only when that is none.
 * It may be fewer than `wait_nr`: after a signal, when a bad request stopped the submit half-way, and with CQEs of
 * two sizes, of which the kernel counts a large one twice. Look at the count and call again.
 */
int uring_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns);

/*
 * The same, but without waiting when more batches of completions than `batches` were copied: a signal's handler that
 * uses the ring may have taken in what `wait_nr` was computed for, and the wait would never end.
 */
int uring_slot_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns, uint64_t batches);

/* The same; and it does not sleep when a wake is due, and a wake ends its sleep. */
int uring_wake_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns, uint64_t batches);

/*
 * From any thread: let the owner's current or next uring_wake_wait return early. `fd` is the ring's descriptor, and the
 * caller sees to it that nobody closes it meanwhile. With a `sender`, a ring of the caller's, messages go through that
 * one, for kernels that send none without a ring. Returns 0 or -errno; then no wake is due.
 */
int uring_wake(struct uring_ring *r, int fd, struct io_uring *sender);

/* Whether a wake is due, which is not due any more after this call. */
int uring_wake_take(struct uring_ring *r);

/* Free SQEs, and SQEs that are queued and not taken: or a refusal, so that a closed ring's memory is not looked into. */
int uring_slot_space(const struct uring_ring *r);
int uring_slot_queued(const struct uring_ring *r);

/* Whether the calling thread may use the ring: 0 or a refusal. */
int uring_check(const struct uring_ring *r);

/*
 * Take back the SQEs that were queued at position `from` of the queue and later and are not submitted, and free their
 * slots, which are stored in `slots` (-1: not managed), at most `room`. Returns their number, or a refusal.
 */
int uring_slot_take_back(struct uring_ring *r, unsigned from, int32_t *slots, unsigned room);

/* The position of the first SQE that can still be taken back. */
unsigned uring_slot_queue_start(const struct uring_ring *r);

/* The user_data of a slot in use, 0 for a free one. */
uint64_t uring_slot_user_data(const struct uring_ring *r, int32_t slot);

/* Whether a slot's SQE is queued and not submitted. */
int uring_slot_is_queued(const struct uring_ring *r, int32_t slot);

/* Free a slot whose CQE will not come. */
void uring_slot_release(struct uring_ring *r, int32_t slot);

/* Keep a slot in use whose last CQE is copied already, because Python does not know yet whose it is. */
void uring_slot_hold(struct uring_ring *r, int32_t slot);

/* Free the slots themselves, at the end. */
void uring_slots_free(struct uring_ring *r);

/*
 * Fused calls for requests that liburing has no prepare function for, or none that sets all: a multishot zero-copy
 * receive; a NOP with a result of one's choice; a cancel of an opcode's requests (flags may add IORING_ASYNC_CANCEL_FD
 * for `fd`, and _ALL); a command with its `len` bytes of command area, which has 16 bytes in a small SQE and 80 in a
 * large one (-E2BIG for more).
 */
int uring_recv_zc(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned len, unsigned ifq);
int uring_nop_result(struct uring_ring *r, uint64_t tag, uint64_t options, int result);
int uring_cancel_opcode(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned opcode, unsigned flags);
int uring_command(struct uring_ring *r, uint64_t tag, uint64_t options, unsigned opcode, int cmd_op, int fd,
		  const void *cmd, unsigned len, unsigned cmd_flags);

/* Put a buffer of a zero-copy receive into the refill ring: 1, or 0 when that is full. */
int uring_zcrx_give_back(struct io_uring_zcrx_rq *rq, uint64_t offset, uint32_t length);
/* The buffers of a group, which lie one behind the other, and the buffer ring that the kernel takes them from. */
struct uring_buffers {
	struct io_uring_buf_ring *entries;
	char *memory;
	uint32_t size;		/* bytes of each */
	uint32_t mask;		/* entries of the ring, less one */
};

/* Put a buffer at the ring's end, where the kernel sees it at once. */
void uring_buffer_give(const struct uring_buffers *b, unsigned id);

/* Map the ring of a group that was registered with IOU_PBUF_RING_MMAP; NULL with errno when that fails. */
struct io_uring_buf_ring *uring_buffer_map(const struct io_uring *ring, unsigned group, size_t size);

/* Take that mapping away. */
void uring_buffer_unmap(size_t size, struct io_uring_buf_ring *entries);

/*
 * Never free the Python object with this id(). When the interpreter ends it clears its modules; what they keep because
 * the kernel may write there, or because Python would crash, has to stay.
 */
void uring_keep(uintptr_t object);

/* The answer to a call by somebody else than the owner. */
int uring_refuse(const struct uring_ring *r);

/* Private to C: the thread's number, 0 before its first use. Read inline by every fused call. */
extern __thread uint64_t uring_thread_number;

static inline int uring_mine(const struct uring_ring *r)
{
	return r && __builtin_expect(r->owner == uring_thread_number, 1) && r->owner >= URING_OWNER_FIRST_THREAD;
}

/* Whether a user_data of ours is the tag of a registered resource. */
static inline int uring_is_tag(uint64_t user_data)
{
	return (user_data & URING_TAG_SLOT) == URING_TAG_SLOT &&
		(uint32_t) (user_data >> URING_SLOT_BITS) != URING_NO_TAG;
}

/* Private to C: count what a submit that returned `ret` has submitted; returns it. */
int uring_count_submitted(struct uring_ring *r, int ret);

/* Private to C: copy out what is ready behind what is there already: how many completions there are then. */
unsigned uring_bulk_reap(struct uring_ring *r);

/* Private to C: the slot that a user_data of ours means, -1 when it is stale. */
int32_t uring_slot_of(const struct uring_ring *r, uint64_t user_data);

/* Private to C: make room for more slots; 0 when there is none. */
int uring_slot_grow(struct uring_ring *r);

/*
 * Private to C: a slot whose last CQE is copied. Until that copy is handed out it means the old request to Python, and
 * a signal's handler or a destructor may queue requests meanwhile: so the slot is taken again only after the next reap.
 */
void uring_slot_rest(struct uring_ring *r, int32_t slot);
void uring_slots_rested(struct uring_ring *r);

/* Whether there is no slot for a managed request. */
static inline int uring_out_of_slots(struct uring_ring *r)
{
	return r->outcomes && r->first_free < 0 && !uring_slot_grow(r);
}

/* Private to C: whether a slot in use is a bulk call's. */
static inline int uring_slot_is_bulk(const struct uring_ring *r, int32_t slot)
{
	return r->slots[slot].next_free < URING_SLOT_BUSY;
}

static inline uint64_t uring_slot_tag(const struct uring_ring *r, int32_t slot)
{
	return URING_MARK << 56 | (uint64_t) r->slots[slot].generation << URING_SLOT_BITS | (uint64_t) slot;
}

/* A 128-byte SQE. On a ring of mixed sizes liburing may put a NOP before it, with the user_data of whoever was there. */
static inline struct io_uring_sqe *uring_get_big_sqe(struct io_uring *ring)
{
	unsigned before = ring->sq.sqe_tail;
	struct io_uring_sqe *sqe = io_uring_get_sqe128(ring);

	if (sqe && ring->sq.sqe_tail - before == 3)
		ring->sq.sqes[before & ring->sq.ring_mask].user_data = 0;
	return sqe;
}

/*
 * A fused call's options, packed so that they cost one argument:
 * bits 0-7 SQE flags, 8-23 ioprio, 24-39 personality, 40-55 buffer group.
 */
static inline int uring_apply(struct uring_ring *r, struct io_uring_sqe *sqe, uint64_t user_data, uint64_t options)
{
	int32_t slot = 0;

	if (r->outcomes) {
		slot = r->first_free;
		r->first_free = r->slots[slot].next_free;
		r->slots[slot].next_free = URING_SLOT_BUSY;
		r->last_slot = slot;
		r->in_flight++;
		r->managed++;
		user_data = uring_slot_tag(r, slot);
	}
	sqe->user_data = user_data;
	/* Or-ed in after the prepare call: some of those assign flags and ioprio. */
	sqe->flags |= (uint8_t) options;
	sqe->ioprio |= (uint16_t) (options >> 8);
	sqe->personality |= (uint16_t) (options >> 24);
	sqe->buf_group |= (uint16_t) (options >> 40);
	return slot;
}

#endif
