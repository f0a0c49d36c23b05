/*
 * Waking the owner of a ring from another thread.
 *
 * The kernel facts this rests on:
 * - A message is a CQE like any other: a wait for n CQEs ends when n are there, so it takes n messages to end it. The
 *   kernel waits for no more than the completion queue has entries.
 * - IORING_REGISTER_SEND_MSG_RING posts one without a ring of the sender's (6.13). Before that only a request of
 *   another ring does (5.18). Some kernels complete that request only when the target's owner enters: nobody may wait
 *   for it.
 *
 * The owner stores what it waits for and then looks for a wake; the other thread stores the wake and then looks for a
 * wait. So one of the two sees the other, and what is not waited for costs no message.
 */
#include "uring.h"

int uring_wake_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns, uint64_t batches)
{
	int ret;

	if (!uring_mine(r))
		return uring_refuse(r);
	__atomic_store_n(&r->waiting, wait_nr, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&r->woken, __ATOMIC_SEQ_CST))
		wait_nr = 0;
	ret = uring_slot_wait(r, wait_nr, timeout_ns, batches);
	__atomic_store_n(&r->waiting, 0, __ATOMIC_RELAXED);
	return ret;
}

int uring_wake_take(struct uring_ring *r)
{
	return (int) __atomic_exchange_n(&r->woken, 0, __ATOMIC_SEQ_CST);
}

static int send_without_ring(int fd, unsigned count)
{
	struct io_uring_sqe sqe = { 0 };
	int ret = 0;

	io_uring_prep_msg_ring(&sqe, fd, 0, URING_WAKE, 0);
	while (count-- && !ret)
		ret = io_uring_register_sync_msg(&sqe);
	return ret;
}

static int send_through(struct io_uring *sender, int fd, unsigned count)
{
	int ret = 0;

	while (count && ret >= 0) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(sender);

		if (sqe) {
			io_uring_prep_msg_ring(sqe, fd, 0, URING_WAKE, 0);
			sqe->user_data = 0;
			count--;
		}
		if (!sqe || !count) {
			io_uring_cq_advance(sender, io_uring_cq_ready(sender));
			ret = io_uring_submit_and_get_events(sender);
		}
	}
	return ret < 0 ? ret : 0;
}

int uring_wake(struct uring_ring *r, int fd, struct io_uring *sender)
{
	unsigned count, most;
	int ret;

	/* Due already: whoever made it so sends the messages. */
	if (__atomic_exchange_n(&r->woken, 1, __ATOMIC_SEQ_CST))
		return 0;
	count = __atomic_load_n(&r->waiting, __ATOMIC_SEQ_CST);
	if (!count)
		return 0;
	most = r->ring->cq.ring_entries; /* only now: while it waits the owner resizes nothing */
	if (count > most)
		count = most;
	ret = sender ? send_through(sender, fd, count) : send_without_ring(fd, count);
	if (ret < 0)
		__atomic_store_n(&r->woken, 0, __ATOMIC_SEQ_CST);
	return ret;
}
