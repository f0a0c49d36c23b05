/*
 * Submitting, waiting and copying completions out in bulk.
 *
 * The kernel facts this rests on:
 * - A CQE's slot may be overwritten as soon as the head has moved past it: copy first, advance once.
 * - With FEAT_NODROP the kernel keeps CQEs that found no room and sets IORING_SQ_CQ_OVERFLOW. They enter the CQ
 *   only during an enter with GETEVENTS. With TASKRUN_FLAG the same holds for pending task work. So an empty CQ
 *   is looked at again after such an enter, and a ring that is only ever reaped does not stall.
 * - A wait that submitted anything reports the count, also when a signal or the timeout ended it. Only the CQ
 *   tells what is there: copying comes after every wait, whatever it returned.
 * - On kernels without EXT_ARG liburing implements a timeout by a request of its own, tagged
 *   LIBURING_UDATA_TIMEOUT. Its CQE is nobody's and is dropped here.
 * - Rings with mixed CQE sizes pad the end of the queue with a CQE marked IORING_CQE_F_SKIP.
 */
#include "bulk.h"
#include "uring.h"

__thread uint64_t uring_thread_number;

uint64_t uring_thread(void)
{
	static uint64_t last = URING_OWNER_FIRST_THREAD - 1;

	if (!uring_thread_number)
		uring_thread_number = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	return uring_thread_number;
}

int uring_refuse(const struct uring_ring *r)
{
	if (!r || r->owner == URING_OWNER_CLOSED)
		return URING_CLOSED;
	if (r->owner == URING_OWNER_FORKED)
		return URING_FORKED;
	return URING_WRONG_THREAD;
}

static int is_nobodys(const struct io_uring *ring, const struct io_uring_cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_SKIP)
		return 1;
	return !(ring->features & IORING_FEAT_EXT_ARG) && cqe->user_data == LIBURING_UDATA_TIMEOUT;
}

/* Store one CQE at position `at`; 0 when it is stale and nobody's. */
static int store(struct uring_ring *r, unsigned at, const struct io_uring_cqe *cqe)
{
	int32_t slot = -1;

	if (r->outcomes && cqe->user_data >> 56 == URING_MARK) {
		slot = uring_slot_of(r, cqe->user_data);
		if (cqe->user_data == URING_BULK_CANCEL) {
			r->bulk_cancels--;
			r->reaped++;
		}
		if (slot < 0 && !uring_is_tag(cqe->user_data))
			return 0;
		if (slot >= 0 && uring_slot_is_bulk(r, slot)) {
			r->reaped++;
			uring_bulk_complete(r, slot, cqe->res);
			return 0;
		}
		if (slot >= 0 && !(cqe->flags & IORING_CQE_F_MORE))
			uring_slot_rest(r, slot);
	}
	if (r->outcomes) {
		r->outcomes[at].slot = slot;
		r->outcomes[at].res = cqe->res;
		r->outcomes[at].flags = cqe->flags;
	}
	if (slot < 0) {
		r->completions[at].user_data = cqe->user_data;
		r->completions[at].res = cqe->res;
		r->completions[at].flags = cqe->flags;
	}
	if (r->extra) {
		int big = (r->ring->flags & IORING_SETUP_CQE32) || (cqe->flags & IORING_CQE_F_32);

		r->extra[at][0] = big ? cqe->big_cqe[0] : 0;
		r->extra[at][1] = big ? cqe->big_cqe[1] : 0;
	}
	return 1;
}

static unsigned copy_ready(struct uring_ring *r, unsigned copied)
{
	struct io_uring_cqe_iter iter = io_uring_cqe_iter_init(r->ring);
	unsigned head = iter.head;
	struct io_uring_cqe *cqe;

	while (copied < r->room && io_uring_cqe_iter_next(&iter, &cqe)) {
		if (!is_nobodys(r->ring, cqe))
			copied += store(r, copied, cqe);
	}
	io_uring_cq_advance(r->ring, iter.head - head);
	return copied;
}

static int kernel_holds_more(const struct io_uring *ring)
{
	unsigned unannounced = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;

	if (ring->flags & IORING_SETUP_IOPOLL)
		return 1;
	/* Deferred work that no flag announces shows only by asking for it. */
	if ((ring->flags & unannounced) == IORING_SETUP_DEFER_TASKRUN)
		return 1;
	return IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static unsigned count_reaped(struct uring_ring *r, unsigned before, unsigned copied)
{
	r->filled = copied;
	r->reaped += copied - before;
	r->batches += copied > before;
	return copied;
}

unsigned uring_bulk_reap(struct uring_ring *r)
{
	unsigned before = r->filled;

	if (!before)
		uring_slots_rested(r);
	return count_reaped(r, before, copy_ready(r, before));
}

static int reap_ready(struct uring_ring *r)
{
	unsigned copied;

	/* An exception has kept the last ones from being handed out: they come first. */
	if (r->outcomes && r->filled)
		return (int) r->filled;
	uring_slots_rested(r);
	copied = copy_ready(r, 0);

	while (copied < r->room && kernel_holds_more(r->ring)) {
		unsigned before = copied;

		if (io_uring_get_events(r->ring) < 0)
			break;
		copied = copy_ready(r, copied);
		if (copied == before)
			break;
	}
	return (int) count_reaped(r, 0, copied);
}

/*
 * The returned count cannot be trusted for counting: a wait that finds a CQE at once returns 0 after submitting, and
 * with SQPOLL it is what the thread has not taken yet. The queue's head tells.
 */
static unsigned taken_head(const struct io_uring *ring)
{
	return ring->flags & IORING_SETUP_SQPOLL ? ring->sq.sqe_head : io_uring_load_sq_head(ring);
}

void uring_count_from_here(struct uring_ring *r)
{
	r->taken_head = taken_head(r->ring);
}

int uring_count_submitted(struct uring_ring *r, int ret)
{
	r->error = ret < 0 ? ret : 0;
	if (r->ring->flags & IORING_SETUP_SQ_REWIND) {
		/* The head stays where it is there; the count is all there is. */
		r->submitted += ret > 0 ? (unsigned) ret : 0;
	} else {
		unsigned head = taken_head(r->ring);

		r->submitted += head - r->taken_head;
		r->taken_head = head;
	}
	return ret;
}

int uring_reap(struct uring_ring *r)
{
	return uring_mine(r) ? reap_ready(r) : uring_refuse(r);
}

int uring_check(const struct uring_ring *r)
{
	return uring_mine(r) ? 0 : uring_refuse(r);
}

int uring_slot_space(const struct uring_ring *r)
{
	return uring_mine(r) ? (int) io_uring_sq_space_left(r->ring) : uring_refuse(r);
}

int uring_slot_queued(const struct uring_ring *r)
{
	return uring_mine(r) ? (int) io_uring_sq_ready(r->ring) : uring_refuse(r);
}

int uring_submit(struct uring_ring *r)
{
	return uring_mine(r) ? uring_count_submitted(r, io_uring_submit(r->ring)) : uring_refuse(r);
}

int uring_slot_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns, uint64_t batches)
{
	return uring_wait(r, r->batches == batches ? wait_nr : 0, timeout_ns);
}

int uring_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int ret, copied;

	if (!uring_mine(r))
		return uring_refuse(r);
	if (timeout_ns < 0 || !wait_nr) {
		ret = wait_nr ? io_uring_submit_and_wait(r->ring, wait_nr) : io_uring_submit(r->ring);
	} else {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
		ret = io_uring_submit_and_wait_timeout(r->ring, &cqe, wait_nr, &ts, NULL);
	}
	uring_count_submitted(r, ret);
	copied = reap_ready(r);
	return copied || ret >= 0 ? copied : ret;
}
