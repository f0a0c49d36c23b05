/*
 * The slots of managed requests: which are free, which generation each is in, and what is still in the queue.
 *
 * A slot in use belongs to one request. Its generation changes when it is freed, so the user_data of an earlier
 * request no longer fits: a CQE for it is stale and is dropped. 32 bits of generation are used up by one slot only
 * after four thousand million requests.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bulk.h"
#include "uring.h"

/* Doubled from the first, slots end at half of what the bits can name: none of them is URING_TAG_SLOT. */
enum { FIRST_SLOTS = 64, SLOT_MASK = (1 << URING_SLOT_BITS) - 1, MOST_SLOTS = 1 << (URING_SLOT_BITS - 1) };

int uring_slot_grow(struct uring_ring *r)
{
	uint32_t count = r->slot_count ? 2 * r->slot_count : FIRST_SLOTS;
	struct uring_slot *grown;
	uint32_t slot;

	if (count > MOST_SLOTS)
		return 0;
	grown = realloc(r->slots, count * sizeof(*grown));
	if (!grown)
		return 0;
	for (slot = r->slot_count; slot < count; slot++) {
		grown[slot].generation = 0;
		grown[slot].next_free = slot + 1 < count ? (int32_t) slot + 1 : -1;
	}
	r->first_free = (int32_t) r->slot_count;
	r->slots = grown;
	r->slot_count = count;
	return 1;
}

void uring_slots_free(struct uring_ring *r)
{
	free(r->slots);
	r->slots = NULL;
	r->slot_count = r->in_flight = 0;
	r->first_free = r->first_resting = r->last_slot = -1;
}

static int in_use(const struct uring_ring *r, int32_t slot)
{
	return slot >= 0 && (uint32_t) slot < r->slot_count && r->slots[slot].next_free <= URING_SLOT_BUSY;
}

int32_t uring_slot_of(const struct uring_ring *r, uint64_t user_data)
{
	int32_t slot = (int32_t) (user_data & SLOT_MASK);

	return in_use(r, slot) && uring_slot_tag(r, slot) == user_data ? slot : -1;
}

uint64_t uring_slot_user_data(const struct uring_ring *r, int32_t slot)
{
	return in_use(r, slot) ? uring_slot_tag(r, slot) : 0;
}

static void end_use(struct uring_ring *r, int32_t slot, int32_t *list)
{
	r->slots[slot].generation++;
	r->slots[slot].next_free = *list;
	*list = slot;
	r->in_flight--;
	if (r->last_slot == slot)
		r->last_slot = -1;
}

void uring_slot_release(struct uring_ring *r, int32_t slot)
{
	if (in_use(r, slot) && !uring_slot_is_bulk(r, slot))
		end_use(r, slot, &r->first_free);
}

void uring_slot_rest(struct uring_ring *r, int32_t slot)
{
	if (r->first_resting < 0)
		r->last_resting = slot;
	end_use(r, slot, &r->first_resting);
}

void uring_slot_hold(struct uring_ring *r, int32_t slot)
{
	int32_t *link = &r->first_resting;
	int32_t before = -1;

	while (*link >= 0 && *link != slot) {
		before = *link;
		link = &r->slots[before].next_free;
	}
	if (*link < 0)
		return;
	*link = r->slots[slot].next_free;
	if (r->last_resting == slot)
		r->last_resting = before;
	r->slots[slot].next_free = URING_SLOT_BUSY;
	r->in_flight++;
}

void uring_slots_rested(struct uring_ring *r)
{
	if (r->first_resting < 0)
		return;
	r->slots[r->last_resting].next_free = r->first_free;
	r->first_free = r->first_resting;
	r->first_resting = -1;
}

/* How many places of the queue an SQE takes: two for the 128-byte ones of a ring with mixed sizes. */
static unsigned places(const struct io_uring *ring, const struct io_uring_sqe *sqe)
{
	int big = sqe->opcode == IORING_OP_NOP128 || sqe->opcode == IORING_OP_URING_CMD128;

	return big && (ring->flags & IORING_SETUP_SQE_MIXED) ? 2 : 1;
}

static struct io_uring_sqe *sqe_at(const struct io_uring *ring, unsigned position)
{
	return &ring->sq.sqes[(position & ring->sq.ring_mask) << io_uring_sqe_shift(ring)];
}

unsigned uring_slot_queue_start(const struct uring_ring *r)
{
	/*
	 * With SQPOLL what was flushed belongs to the kernel's thread. Otherwise the kernel looks only during an enter,
	 * and what a submit that stopped half-way has left behind can be taken back as well.
	 */
	return r->ring->flags & IORING_SETUP_SQPOLL ? r->ring->sq.sqe_head : io_uring_load_sq_head(r->ring);
}

int uring_slot_is_queued(const struct uring_ring *r, int32_t slot)
{
	uint64_t wanted = uring_slot_user_data(r, slot);
	unsigned at;

	if (!wanted)
		return 0;
	for (at = uring_slot_queue_start(r); at != r->ring->sq.sqe_tail; at += places(r->ring, sqe_at(r->ring, at)))
		if (sqe_at(r->ring, at)->user_data == wanted)
			return 1;
	return 0;
}

int uring_slot_take_back(struct uring_ring *r, unsigned from, int32_t *slots, unsigned room)
{
	struct io_uring_sq *sq;
	unsigned at, count = 0;

	if (!uring_mine(r))
		return uring_refuse(r);
	sq = &r->ring->sq;
	for (at = from; at != sq->sqe_tail && count < room; count++) {
		struct io_uring_sqe *sqe = sqe_at(r->ring, at);

		slots[count] = sqe->user_data >> 56 == URING_MARK ? uring_slot_of(r, sqe->user_data) : -1;
		if (sqe->user_data == URING_BULK_CANCEL)
			r->bulk_cancels--;
		if (slots[count] >= 0 && uring_slot_is_bulk(r, slots[count])) {
			uring_bulk_complete(r, slots[count], -ECANCELED);
			slots[count] = -1;
		}
		uring_slot_release(r, slots[count]);
		at += places(r->ring, sqe);
	}
	sq->sqe_tail = from;
	/* Positions wrap around; with SQPOLL nothing before sqe_head is ever taken back. */
	if ((int) (sq->sqe_head - from) > 0) {
		sq->sqe_head = from;
		*sq->ktail = from;
	}
	return (int) count;
}

/*
 * Requests that no prepare call of liburing covers wholly. Each is one more fused call, with the same rules.
 */

/* An SQE for a fused call, large or small; NULL with the call's answer in *refusal. */
static struct io_uring_sqe *take_sqe(struct uring_ring *r, int big, int *refusal)
{
	if (!uring_mine(r)) {
		*refusal = uring_refuse(r);
		return NULL;
	}
	*refusal = -ENOMEM;
	if (uring_out_of_slots(r))
		return NULL;
	*refusal = URING_FULL;
	if (big && !(r->ring->flags & (IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED)))
		*refusal = URING_NO_BIG_SQE;
	return big ? uring_get_big_sqe(r->ring) : io_uring_get_sqe(r->ring);
}

int uring_recv_zc(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned len, unsigned ifq)
{
	int refusal;
	struct io_uring_sqe *sqe = take_sqe(r, 0, &refusal);

	if (!sqe)
		return refusal;
	io_uring_prep_rw(IORING_OP_RECV_ZC, sqe, fd, NULL, len, 0);
	sqe->ioprio = IORING_RECV_MULTISHOT;
	sqe->zcrx_ifq_idx = ifq;
	return uring_apply(r, sqe, tag, options);
}

int uring_nop_result(struct uring_ring *r, uint64_t tag, uint64_t options, int result)
{
	int refusal;
	struct io_uring_sqe *sqe = take_sqe(r, 0, &refusal);

	if (!sqe)
		return refusal;
	io_uring_prep_nop(sqe);
	sqe->nop_flags = IORING_NOP_INJECT_RESULT;
	sqe->len = (unsigned) result;
	return uring_apply(r, sqe, tag, options);
}

int uring_cancel_opcode(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned opcode, unsigned flags)
{
	int refusal;
	struct io_uring_sqe *sqe = take_sqe(r, 0, &refusal);

	if (!sqe)
		return refusal;
	io_uring_prep_cancel64(sqe, 0, (int) (flags | IORING_ASYNC_CANCEL_OP));
	sqe->fd = fd;
	sqe->len = opcode;
	return uring_apply(r, sqe, tag, options);
}

static unsigned command_room(const struct io_uring *ring, int big)
{
	return (big || ring->flags & IORING_SETUP_SQE128 ? 128 : 64) - offsetof(struct io_uring_sqe, cmd);
}

int uring_command(struct uring_ring *r, uint64_t tag, uint64_t options, unsigned opcode, int cmd_op, int fd,
		  const void *cmd, unsigned len, unsigned cmd_flags)
{
	int refusal, big = opcode == IORING_OP_URING_CMD128;
	struct io_uring_sqe *sqe;
	char *area;

	if (uring_mine(r) && len > command_room(r->ring, big))
		return -E2BIG;
	sqe = take_sqe(r, big, &refusal);
	if (!sqe)
		return refusal;
	if (big)
		io_uring_prep_uring_cmd128(sqe, cmd_op, fd);
	else
		io_uring_prep_uring_cmd(sqe, cmd_op, fd);
	sqe->uring_cmd_flags = cmd_flags;
	/* Preparing clears the first 64 bytes only, and the rest may be an earlier command's. */
	area = (char *) sqe + offsetof(struct io_uring_sqe, cmd);
	memset(area, 0, command_room(r->ring, big));
	if (len) /* cmd may be NULL then, which memcpy() may not get */
		memcpy(area, cmd, len);
	return uring_apply(r, sqe, tag, options);
}
