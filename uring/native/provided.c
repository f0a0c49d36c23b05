/*
 * Buffer rings: giving a buffer to the kernel in one crossing, and rings that lie in the kernel's memory.
 *
 * The kernel facts this rests on:
 * - The kernel reads an entry only after the tail has moved past it, so the entry is written first.
 * - With IOU_PBUF_RING_INC the kernel shortens the entry that it is using: address and length are written each time.
 * - A mapping of the kernel's memory outlives the group and the ring; it is unmapped by whoever mapped it.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "uring.h"

void uring_buffer_give(const struct uring_buffers *b, unsigned id)
{
	io_uring_buf_ring_add(b->entries, b->memory + (size_t) id * b->size, b->size, (unsigned short) id, (int) b->mask, 0);
	io_uring_buf_ring_advance(b->entries, 1);
}

struct io_uring_buf_ring *uring_buffer_map(const struct io_uring *ring, unsigned group, size_t size)
{
	off_t where = (off_t) (IORING_OFF_PBUF_RING | (unsigned long long) group << IORING_OFF_PBUF_SHIFT);
	void *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->ring_fd, where);

	return there == MAP_FAILED ? NULL : there;
}

void uring_buffer_unmap(size_t size, struct io_uring_buf_ring *entries)
{
	munmap(entries, size);
}
