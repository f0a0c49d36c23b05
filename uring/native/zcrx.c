/*
 * The refill ring of a zero-copy receive: the buffers that the kernel may fill again.
 *
 * We write entries and move the tail, the kernel reads them and moves the head. One thread writes at a time.
 */
#include "uring.h"

int uring_zcrx_give_back(struct io_uring_zcrx_rq *rq, uint64_t offset, uint32_t length)
{
	struct io_uring_zcrx_rqe *entry;

	if (rq->rq_tail - io_uring_smp_load_acquire(rq->khead) >= rq->ring_entries)
		return 0;
	entry = &rq->rqes[rq->rq_tail & (rq->ring_entries - 1)];
	entry->off = offset;
	entry->len = length;
	entry->__pad = 0;
	io_uring_smp_store_release(rq->ktail, ++rq->rq_tail);
	return 1;
}
