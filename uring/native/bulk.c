/*
 * The loop of bulk calls: fill the window, submit, wait, complete, until all requests are done.
 *
 * The kernel facts this rests on:
 * - What completes inside the submission (a read from the page cache) is in the CQ when the submit returns: waiting for
 *   more would only add to it. So nothing is waited for until the window is full, or there is nothing more to start;
 *   and not then either, as long as nothing is ever left in flight.
 * - A device is kept busy by what is in flight, so a wait is for a quarter of it: fewer system calls than waiting for
 *   one, and three quarters left to work on meanwhile.
 * - A short read is the end of a file, or an error that a read from there will tell, or neither. Only a read of nothing
 *   is the end. So each short transfer goes on where it stopped.
 * - A file that was opened with O_NONBLOCK answers -EAGAIN where it would have to wait: a poll waits, and then it is
 *   read again. What else answers -EAGAIN is ready at once, and is only tried again so many times.
 * - Links start in order but complete in any: the legs of a place are told apart by their slots.
 * - A direct descriptor's slot that is opened into again closes what was in it. No close is needed in between.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bulk.h"

enum {
	MOST_AT_ONCE = 0x7ffff000,	/* bytes that the kernel transfers in one request */
	MOST_TRIES = 10000,		/* without any progress */
	KERNEL_RESTART = 512,		/* the kernel's own "interrupted", which some requests let through */
};

/* One request of the window. */
struct place {
	uint64_t index;		/* which request */
	uint64_t done;		/* bytes */
	uint64_t room;		/* reading whole files: bytes of `content` */
	char *content;
	uint64_t from;		/* of a widened read: the file's offset that was asked for */
	uint32_t asked;		/* bytes that were asked for */
	uint32_t tries;
	int32_t next;		/* free, or to be made again */
	int32_t fd;		/* reading whole files without direct descriptors */
	int32_t error;		/* of a whole file, until it is closed */
	int32_t opened;		/* results of a whole file's legs, until both have ended */
	int32_t got;
	uint8_t step;
	uint8_t pending;	/* legs in flight */
	uint8_t is_wide;	/* its bytes come to the bounce buffer */
	uint8_t is_again;	/* in the list of those that are made again */
	struct leg {
		uint64_t user_data;
		int32_t slot;
		int32_t is_in_flight;
	} legs[2];
};

enum step { STEP_WORK, STEP_POLL, STEP_FLUSH, STEP_READ, STEP_CLOSE };

static int64_t number(const struct uring_numbers *numbers, uint64_t index)
{
	int64_t wide;
	uint32_t narrow;

	if (!numbers->data)
		return (int64_t) ((uint64_t) numbers->first + index * (uint64_t) numbers->step);
	/* The caller's memory need not be aligned. */
	if (numbers->width == 8) {
		memcpy(&wide, (const char *) numbers->data + index * sizeof(wide), sizeof(wide));
		return wide;
	}
	memcpy(&narrow, (const char *) numbers->data + index * sizeof(narrow), sizeof(narrow));
	return numbers->is_unsigned ? (int64_t) narrow : (int64_t) (int32_t) narrow;
}

static int64_t now(void)
{
	struct timespec spec;

	clock_gettime(CLOCK_MONOTONIC, &spec);
	return spec.tv_sec * INT64_C(1000000000) + spec.tv_nsec;
}

static int is_transfer(const struct uring_bulk *b)
{
	return b->kind == URING_BULK_READ || b->kind == URING_BULK_WRITE;
}

/* --- what a request is about ------------------------------------------------------------------------- */

/* A request's numbers, looked up once: the caller may change them while it is in flight. */
struct range {
	int64_t file, offset, length;
	char *memory;
};

static int find_range(const struct uring_bulk *b, uint64_t index, struct range *range)
{
	range->file = number(&b->files, index);
	range->offset = number(&b->offsets, index);
	if (range->file < 0 || range->file > INT32_MAX)
		return URING_BULK_BAD_FILE;
	if (range->offset < 0)
		return URING_BULK_BAD_OFFSET;
	range->length = number(&b->lengths, index);
	if (range->length < 0 || range->length > INT64_MAX - range->offset)
		return URING_BULK_BAD_LENGTH;
	if (b->vectors) {
		range->memory = b->vectors[index].iov_base;
		return (uint64_t) range->length > b->vectors[index].iov_len ? URING_BULK_BAD_END : 0;
	} else {
		int64_t position = number(&b->positions, index);

		if (position < 0)
			return URING_BULK_BAD_POSITION;
		if ((uint64_t) position + (uint64_t) range->length > b->memory_size)
			return URING_BULK_BAD_END;
		range->memory = b->memory + position;
		return 0;
	}
}

int64_t uring_bulk_check(const struct uring_bulk *b, int32_t *fault)
{
	struct range range;
	uint64_t index;

	*fault = 0;
	for (index = 0; is_transfer(b) && index < b->count; index++) {
		*fault = find_range(b, index, &range);
		if (*fault)
			return (int64_t) index;
	}
	return -1;
}

int64_t uring_bulk_survey(const struct uring_bulk *b, int64_t *positions, int64_t *sums)
{
	uint64_t index;

	sums[0] = sums[1] = 0;
	for (index = 0; index < b->count; index++) {
		int64_t length = number(&b->lengths, index);

		if (length < 0 || length > INT64_MAX - sums[0])
			return (int64_t) index;
		if (positions)
			positions[index] = sums[0];
		sums[0] += length;
		if (length > sums[1])
			sums[1] = length;
	}
	return -1;
}

/* --- places ------------------------------------------------------------------------------------------ */

static struct place *places(const struct uring_bulk *b)
{
	return b->places;
}

static uint32_t index_of(const struct uring_bulk *b, const struct place *place)
{
	return (uint32_t) (place - places(b));
}

static void make_again(struct uring_bulk *b, struct place *place)
{
	int32_t at = (int32_t) index_of(b, place);

	place->next = -1;
	place->is_again = 1;
	if (b->first_again < 0)
		b->first_again = at;
	else
		places(b)[b->last_again].next = at;
	b->last_again = at;
}

static void set_free(struct uring_bulk *b, struct place *place)
{
	place->next = b->first_free;
	place->is_again = 0;
	b->first_free = (int32_t) index_of(b, place);
}

static void record(struct uring_bulk *b, uint64_t index, int64_t count, int32_t error)
{
	/* No descriptor is not descriptor 0. */
	if (b->counts)
		b->counts[index] = error && b->kind == URING_BULK_OPEN ? -1 : count;
	b->errors[index] = error;
	b->failed += error != 0;
	b->finished++;
}

static void finish(struct uring_bulk *b, struct place *place, int64_t count, int32_t error)
{
	record(b, place->index, count, error);
	set_free(b, place);
}

/* --- reading whole files: where the bytes go --------------------------------------------------------- */

enum { FIRST_ROOM = 32 << 10, BLOCK = 4 << 20 };

/* Blocks are a list through their first bytes. */
static char *new_block(struct uring_contents *contents)
{
	void **block = malloc(BLOCK);

	if (!block)
		return NULL;
	*block = contents->blocks;
	contents->blocks = block;
	contents->next = (char *) (block + 1);
	contents->room = BLOCK - sizeof(*block);
	return contents->next;
}

struct uring_contents *uring_contents_new(uint64_t count)
{
	struct uring_contents *contents = calloc(1, sizeof(*contents));

	if (!contents)
		return NULL;
	contents->count = count;
	contents->files = calloc(count ? count : 1, sizeof(*contents->files));
	if (contents->files)
		return contents;
	free(contents);
	return NULL;
}

/* Contents of FIRST_ROOM bytes or less lie in blocks, all others in memory of their own. */
void uring_contents_free(struct uring_contents *contents)
{
	uint64_t index;

	if (!contents)
		return;
	for (index = 0; index < contents->count; index++)
		if (contents->files[index].iov_len > FIRST_ROOM)
			free(contents->files[index].iov_base);
	while (contents->blocks) {
		void *next = *(void **) contents->blocks;

		free(contents->blocks);
		contents->blocks = next;
	}
	free(contents->files);
	free(contents);
}

/* Hand over what a place has read. */
static int keep_content(struct uring_bulk *b, struct place *place)
{
	struct uring_contents *contents = b->contents;
	struct iovec *file = &contents->files[place->index];

	if (place->done > FIRST_ROOM) {
		char *fitting = realloc(place->content, place->done);

		file->iov_base = fitting ? fitting : place->content;
		file->iov_len = place->done;
		place->content = NULL;
		place->room = 0;
		return 0;
	}
	if (place->done > contents->room && !new_block(contents))
		return ENOMEM;
	if (place->done)
		memcpy(contents->next, place->content, place->done);
	file->iov_base = contents->next;
	file->iov_len = place->done;
	contents->next += place->done;
	contents->room -= place->done;
	return 0;
}

static int grow_content(struct place *place)
{
	uint64_t room = place->room ? 4 * place->room : FIRST_ROOM;
	char *grown;

	/* Doubling from here on wastes less memory, and each step is a large read already. */
	if (place->room >= UINT64_C(16) << 20)
		room = 2 * place->room;
	grown = realloc(place->content, room);
	if (!grown)
		return ENOMEM;
	place->content = grown;
	place->room = room;
	return 0;
}

/* --- making SQEs ------------------------------------------------------------------------------------- */

static struct io_uring_sqe *take_sqe(struct uring_ring *r)
{
	return io_uring_get_sqe(r->ring);
}

static inline void tag(struct uring_bulk *b, struct place *place, unsigned leg, struct io_uring_sqe *sqe,
		       uint64_t options)
{
	sqe->user_data = place->legs[leg].user_data;
	sqe->flags |= (uint8_t) options;
	sqe->ioprio |= (uint16_t) (options >> 8);
	sqe->personality |= (uint16_t) (options >> 24);
	place->legs[leg].is_in_flight = 1;
	place->pending++;
	b->in_flight++;
}

/* Only what transfers data has a priority; the kernel refuses it elsewhere. */
static uint64_t without_priority(uint64_t options)
{
	return options & ~(UINT64_C(0xffff) << 8);
}

static int is_aligned(const struct uring_bulk *b, const struct range *range, uint64_t done)
{
	uint64_t all = (uint64_t) range->offset | (uint64_t) range->length | (uintptr_t) range->memory | done;

	return !(all & (b->alignment - 1));
}

/* Which registered buffer holds all of it, -1 when none does. */
static int registered(const struct uring_bulk *b, const char *memory, uint64_t length)
{
	uint64_t start;

	if (b->buffer_index < 0 || !length)
		return -1;
	start = (uint64_t) (memory - b->memory);
	if (start / b->buffer_span != (start + length - 1) / b->buffer_span)
		return -1;
	return b->buffer_index + (int) (start / b->buffer_span);
}

static void prepare_transfer(struct uring_bulk *b, struct place *place, const struct range *range,
			     struct io_uring_sqe *sqe)
{
	uint64_t left = (uint64_t) range->length - place->done, from = (uint64_t) range->offset + place->done;
	char *memory = range->memory + place->done;
	int index, fd = (int) range->file;

	place->is_wide = b->alignment && !is_aligned(b, range, place->done);
	if (place->is_wide) {
		uint64_t mask = b->alignment - 1, start = from & ~mask, end = (from + left + mask) & ~mask;

		left = end - start < b->bounce_size ? end - start : b->bounce_size;
		memory = b->bounce + index_of(b, place) * b->bounce_size;
		index = b->bounce_index;
		place->from = from = start;
	} else {
		if (left > MOST_AT_ONCE)
			left = MOST_AT_ONCE;
		index = registered(b, memory, left);
	}
	place->asked = (uint32_t) left;
	if (b->kind == URING_BULK_READ) {
		if (index >= 0)
			io_uring_prep_read_fixed(sqe, fd, memory, place->asked, from, index);
		else
			io_uring_prep_read(sqe, fd, memory, place->asked, from);
	} else if (index >= 0) {
		io_uring_prep_write_fixed(sqe, fd, memory, place->asked, from, index);
	} else {
		io_uring_prep_write(sqe, fd, memory, place->asked, from);
	}
}

static const char *path_of(const struct uring_bulk *b, uint64_t index)
{
	return b->names + number(&b->name_at, index);
}

/* Whole files: open and read in one go, a read alone, or a close. */
static int prepare_file(struct uring_ring *r, struct uring_bulk *b, struct place *place)
{
	struct io_uring_sqe *sqe;
	int slot = (int) b->direct.first + (int) index_of(b, place);
	uint64_t options = without_priority(b->options);

	place->opened = 0;
	if (place->step == STEP_WORK) {
		sqe = take_sqe(r);
		if (b->is_direct) {
			io_uring_prep_openat_direct(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags, 0, slot);
			tag(b, place, 1, sqe, options | IOSQE_IO_LINK);
			place->step = STEP_READ;
		} else {
			io_uring_prep_openat(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags | O_CLOEXEC, 0);
			tag(b, place, 1, sqe, options);
			return 1;
		}
	}
	sqe = take_sqe(r);
	if (place->step == STEP_CLOSE) {
		io_uring_prep_close(sqe, place->fd);
	} else {
		uint64_t left = place->room - place->done;

		place->asked = left < MOST_AT_ONCE ? (uint32_t) left : MOST_AT_ONCE;
		io_uring_prep_read(sqe, b->is_direct ? slot : place->fd, place->content + place->done, place->asked, place->done);
		options |= b->is_direct ? IOSQE_FIXED_FILE : 0;
	}
	tag(b, place, 0, sqe, options);
	return 1;
}

/* Write a place's SQEs; 0 when its request has ended without any. There is room for them. */
static int prepare(struct uring_ring *r, struct uring_bulk *b, struct place *place)
{
	struct io_uring_sqe *sqe;
	struct range range;

	if (b->kind == URING_BULK_READ_FILE)
		return prepare_file(r, b, place);
	if (is_transfer(b) && place->step != STEP_FLUSH) {
		if (find_range(b, place->index, &range)) {
			finish(b, place, (int64_t) place->done, EINVAL);	/* changed since it was checked */
			return 0;
		}
		if (place->done >= (uint64_t) range.length) {
			finish(b, place, (int64_t) place->done, 0);
			return 0;
		}
	}
	sqe = take_sqe(r);
	if (place->step == STEP_POLL) {
		io_uring_prep_poll_add(sqe, (int) range.file, b->kind == URING_BULK_WRITE ? POLLOUT : POLLIN);
	} else if (place->step == STEP_FLUSH) {
		io_uring_prep_fsync(sqe, (int) place->fd, b->sync_flags);
	} else if (is_transfer(b)) {
		prepare_transfer(b, place, &range, sqe);
	} else if (b->kind == URING_BULK_STAT) {
		io_uring_prep_statx(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags, b->mode, &b->stats[place->index]);
	} else if (b->kind == URING_BULK_OPEN && b->is_direct) {
		io_uring_prep_openat_direct(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags, b->mode,
					    (unsigned) number(&b->direct, place->index));
	} else if (b->kind == URING_BULK_OPEN) {
		io_uring_prep_openat(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags, b->mode);
	} else if (b->kind == URING_BULK_UNLINK) {
		io_uring_prep_unlinkat(sqe, b->dir_fd, path_of(b, place->index), (int) b->flags);
	} else {
		io_uring_prep_nop(sqe);
	}
	tag(b, place, 0, sqe, is_transfer(b) && place->step == STEP_WORK ? b->options : without_priority(b->options));
	return 1;
}

/* --- flushes ----------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;

	return (x > y) - (x < y);
}

/* The files of the batch that has ended, each once. */
static int collect_files(struct uring_bulk *b)
{
	uint64_t index;

	b->flush_count = b->flush_next = 0;
	for (index = b->batch_start; index < b->next; index++) {
		int32_t file = (int32_t) number(&b->files, index);

		if (!b->flush_count || b->flush[b->flush_count - 1] != file)
			b->flush[b->flush_count++] = file;
	}
	if (b->flush_count > 1) {
		uint32_t from, to = 1;

		qsort(b->flush, b->flush_count, sizeof(*b->flush), compare);
		for (from = 1; from < b->flush_count; from++)
			if (b->flush[from] != b->flush[to - 1])
				b->flush[to++] = b->flush[from];
		b->flush_count = to;
	}
	return b->flush_count > 0;
}

/* A file could not be flushed: none of the batch's writes to it has done what was asked for. */
static void fail_batch(struct uring_bulk *b, int32_t file, int32_t error)
{
	uint64_t index;

	for (index = b->batch_start; index < b->next; index++) {
		if ((int32_t) number(&b->files, index) == file && !b->errors[index]) {
			b->errors[index] = error;
			b->failed++;
		}
	}
}

/* After a stop: what was written and will not be flushed is not what was asked for either. */
static void fail_unflushed(struct uring_bulk *b)
{
	if (b->sync_every && b->batch_start < b->next) {
		if (!b->flushing)
			collect_files(b);
		while (b->flush_next < b->flush_count)
			fail_batch(b, b->flush[b->flush_next++], b->stop_error);
	}
	b->flushing = 0;
}

static void start_next_batch(struct uring_bulk *b)
{
	uint64_t index;
	int is_broken = 0;

	b->flushing = 0;
	for (index = b->batch_start; index < b->next && !is_broken; index++)
		is_broken = b->errors[index] != 0;
	/* What comes later may rely on what comes first, so it is not written. */
	if (is_broken && !b->stop_error)
		uring_bulk_stop(b, ECANCELED);
	b->batch_start = b->next;
	b->batch_end = b->count - b->next > b->sync_every ? b->next + b->sync_every : b->count;
}

/* --- completions ------------------------------------------------------------------------------------- */

static void try_again(struct uring_bulk *b, struct place *place, int32_t error)
{
	if (b->stop_error || ++place->tries > MOST_TRIES) {
		finish(b, place, (int64_t) place->done, b->stop_error ? b->stop_error : error);
		return;
	}
	b->retried++;
	make_again(b, place);
}

static int is_interruption(int32_t res)
{
	return res == -EINTR || res == -KERNEL_RESTART;
}

static int is_passing(int32_t res)
{
	return res == -EAGAIN || is_interruption(res);
}

/* A request that ends with this has been stopped by us, where we stopped anything. */
static int32_t error_of(const struct uring_bulk *b, int32_t res)
{
	if (b->stop_error && (res == -ECANCELED || is_interruption(res)))
		return b->stop_error;
	return -res;
}

static void transferred(struct uring_bulk *b, struct place *place, int32_t res)
{
	struct range range;
	int64_t got = res;

	if (find_range(b, place->index, &range)) {
		finish(b, place, (int64_t) place->done, EINVAL);
		return;
	}
	if (place->is_wide && res > 0) {
		uint64_t skipped = (uint64_t) range.offset + place->done - place->from;
		uint64_t left = (uint64_t) range.length - place->done;

		got = res - (int64_t) skipped;
		if (got > (int64_t) left)
			got = (int64_t) left;
		if (got > 0)
			memcpy(range.memory + place->done, b->bounce + index_of(b, place) * b->bounce_size + skipped, (size_t) got);
	}
	if (got <= 0) {		/* the end of the file; a write that writes nothing has no reason to give */
		finish(b, place, (int64_t) place->done, b->kind == URING_BULK_WRITE ? EIO : 0);
		return;
	}
	place->done += (uint64_t) got;
	b->transferred += (uint64_t) got;
	place->tries = 0;
	if (place->done >= (uint64_t) range.length)
		finish(b, place, (int64_t) place->done, 0);
	else
		try_again(b, place, EIO);
}

static inline void completed(struct uring_ring *r, struct uring_bulk *b, struct place *place, int32_t res)
{
	if (place->step == STEP_WORK && res >= 0) {	/* nearly always */
		if (is_transfer(b))
			transferred(b, place, res);
		else
			finish(b, place, res, 0);
	} else if (place->step == STEP_FLUSH) {
		if (is_interruption(res) && !b->stop_error) {
			make_again(b, place);
			return;
		}
		if (res < 0)
			fail_batch(b, place->fd, error_of(b, res));
		set_free(b, place);
	} else if (place->step == STEP_POLL) {
		place->step = STEP_WORK;
		if (res < 0 && !is_interruption(res))
			finish(b, place, (int64_t) place->done, error_of(b, res));
		else
			try_again(b, place, EAGAIN);
	} else if (is_passing(res)) {
		/* A ring that polls for its completions can poll for nothing else. */
		if (res == -EAGAIN && is_transfer(b) && !(r->ring->flags & IORING_SETUP_IOPOLL))
			place->step = STEP_POLL;
		try_again(b, place, -res);
	} else {
		finish(b, place, (int64_t) place->done, error_of(b, res));
	}
}

static void file_ended(struct uring_bulk *b, struct place *place, int32_t error)
{
	if (!error)
		error = keep_content(b, place);
	if (!error)
		b->transferred += place->done;
	place->error = error;
	if (b->is_direct || place->fd < 0) {
		finish(b, place, error ? 0 : (int64_t) place->done, error);
	} else {
		place->step = STEP_CLOSE;
		make_again(b, place);
	}
}

/* A step of a whole file may be tried again, or was stopped. */
static void repeat_step(struct uring_bulk *b, struct place *place, int32_t error)
{
	if (b->stop_error || ++place->tries > MOST_TRIES)
		file_ended(b, place, b->stop_error ? b->stop_error : error);
	else
		make_again(b, place);
}

/* All legs of a whole file's step have ended; a link that never ran has said so too. */
static void file_completed(struct uring_bulk *b, struct place *place)
{
	if (place->step == STEP_CLOSE) {
		place->fd = -1;
		finish(b, place, place->error ? 0 : (int64_t) place->done, place->error);
	} else if (place->opened < 0) {
		place->step = STEP_WORK;
		if (is_passing(place->opened))
			repeat_step(b, place, -place->opened);
		else
			file_ended(b, place, error_of(b, place->opened));
	} else if (place->step == STEP_WORK) {
		place->fd = place->opened;
		place->step = STEP_READ;
		repeat_step(b, place, 0);
	} else if (is_passing(place->got)) {
		repeat_step(b, place, -place->got);
	} else if (place->got <= 0) {
		file_ended(b, place, place->got ? error_of(b, place->got) : 0);
	} else {
		place->done += (uint64_t) place->got;
		place->tries = 0;
		if (place->room == place->done && grow_content(place))
			file_ended(b, place, ENOMEM);
		else
			repeat_step(b, place, 0);
	}
}

/* The bulk call that a slot belongs to, and which of its legs. */
static struct uring_bulk *owner(const struct uring_ring *r, int32_t slot, uint32_t *leg)
{
	uint32_t found = (uint32_t) (URING_SLOT_BUSY - 1 - r->slots[slot].next_free);
	struct uring_bulk *b;

	for (b = r->bulk; b; b = b->outer) {
		if (found >= b->base && found - b->base < b->depth * b->legs) {
			*leg = found - b->base;
			return b;
		}
	}
	return NULL;
}

static inline void leg_completed(struct uring_ring *r, struct uring_bulk *b, uint32_t leg, int32_t res)
{
	/* One leg or two: a division would cost as much as all the rest of this. */
	struct place *place = &places(b)[leg >> (b->legs - 1)];

	leg &= b->legs - 1;
	if (!place->legs[leg].is_in_flight)
		return;
	place->legs[leg].is_in_flight = 0;
	place->pending--;
	b->in_flight--;
	if (b->kind != URING_BULK_READ_FILE) {
		completed(r, b, place, res);
		return;
	}
	if (leg)
		place->opened = res;
	else
		place->got = res;
	if (!place->pending)
		file_completed(b, place);
}

void uring_bulk_complete(struct uring_ring *r, int32_t slot, int32_t res)
{
	uint32_t leg;
	struct uring_bulk *b = owner(r, slot, &leg);

	if (b)
		leg_completed(r, b, leg, res);
}

/* Take in what is this call's own, up to the first CQE that is not: the short way, for nearly all of them. */
static void reap_own(struct uring_ring *r, struct uring_bulk *b)
{
	struct io_uring_cqe_iter iter = io_uring_cqe_iter_init(r->ring);
	uint32_t legs = b->depth * b->legs, count = 0;
	struct io_uring_cqe *cqe;

	while (io_uring_cqe_iter_next(&iter, &cqe)) {
		uint64_t user_data = cqe->user_data;
		uint32_t leg, slot = (uint32_t) user_data & ((1 << URING_SLOT_BITS) - 1);

		if (slot >= r->slot_count || uring_slot_tag(r, (int32_t) slot) != user_data || cqe->flags)
			break;
		leg = (uint32_t) (URING_SLOT_BUSY - 1 - r->slots[slot].next_free) - b->base;
		if (leg >= legs)
			break;
		leg_completed(r, b, leg, cqe->res);
		count++;
	}
	io_uring_cq_advance(r->ring, count);	/* not the iterator's head, which is behind the CQE that stopped it */
	r->reaped += count;
}

/* --- the window -------------------------------------------------------------------------------------- */

static void start(struct uring_bulk *b, struct place *place)
{
	place->index = b->next++;
	place->done = 0;
	place->tries = 0;
	place->step = STEP_WORK;
	place->error = 0;
	place->fd = -1;
}

/* A place to make SQEs for, NULL when there is none now. */
static struct place *next_place(struct uring_bulk *b)
{
	struct place *place;

	if (b->first_again >= 0) {
		place = &places(b)[b->first_again];
		b->first_again = place->next;
		place->is_again = 0;
		return place;
	}
	if (b->first_free < 0)
		return NULL;
	place = &places(b)[b->first_free];
	if (b->flushing) {
		if (b->flush_next == b->flush_count)
			return NULL;
		b->first_free = place->next;
		place->step = STEP_FLUSH;
		place->fd = b->flush[b->flush_next++];
		return place;
	}
	if (b->next == b->batch_end || b->stop_error)
		return NULL;
	b->first_free = place->next;
	start(b, place);
	return place;
}

static void fill(struct uring_ring *r, struct uring_bulk *b)
{
	unsigned before = b->in_flight, filled = 0, room = io_uring_sq_space_left(r->ring);
	unsigned needed = b->kind == URING_BULK_READ_FILE && b->is_direct ? 2 : 1;	/* a chain is never split */

	for (; filled < b->batch && room >= needed; room -= needed) {
		struct place *place = next_place(b);

		if (!place)
			break;
		if (b->kind == URING_BULK_READ_FILE && !place->content && grow_content(place)) {
			record(b, place->index, 0, ENOMEM);
			set_free(b, place);
		} else {
			filled += (unsigned) prepare(r, b, place);
		}
	}
	r->managed += b->in_flight - before;
}

/* The descriptor of a whole file that is read by one, unless a close is in flight. */
static void close_file(const struct uring_bulk *b, struct place *place)
{
	if (b->kind == URING_BULK_READ_FILE && place->fd >= 0 && !(place->step == STEP_CLOSE && place->pending))
		close(place->fd);
	place->fd = -1;
}

/* After a stop: end what is to be made again, and cancel what is in flight, as far as there is room. */
static void wind_down(struct uring_ring *r, struct uring_bulk *b)
{
	while (b->first_again >= 0) {
		struct place *place = &places(b)[b->first_again];

		b->first_again = place->next;
		place->is_again = 0;
		if (place->step == STEP_FLUSH) {
			fail_batch(b, place->fd, b->stop_error);
			set_free(b, place);
		} else {
			int32_t error = place->step == STEP_CLOSE ? place->error : b->stop_error;

			close_file(b, place);
			finish(b, place, b->kind == URING_BULK_READ_FILE && error ? 0 : (int64_t) place->done, error);
		}
	}
	for (; b->to_cancel < b->depth * b->legs; b->to_cancel++) {
		struct place *place = &places(b)[b->to_cancel / b->legs];
		struct leg *leg = &place->legs[b->to_cancel % b->legs];
		struct io_uring_sqe *sqe;

		if (!leg->is_in_flight || place->step == STEP_CLOSE)
			continue;
		sqe = take_sqe(r);
		if (!sqe)
			return;
		io_uring_prep_cancel64(sqe, uring_slot_tag(r, leg->slot), 0);
		sqe->flags |= (uint8_t) b->options & ~(IOSQE_FIXED_FILE | IOSQE_ASYNC);
		sqe->user_data = URING_BULK_CANCEL;
		r->bulk_cancels++;
		r->managed++;
	}
	if (b->in_flight)
		return;
	fail_unflushed(b);
	while (b->next < b->count)
		record(b, b->next++, 0, b->stop_error);
	b->batch_start = b->batch_end = b->count;
}

/* Whether nothing is left to do; starts a flush, or the batch behind one, when its time has come. */
static int is_done(const struct uring_ring *r, struct uring_bulk *b)
{
	if (b->stop_error && r->bulk_cancels)
		return 0;
	while (!b->in_flight && b->first_again < 0 && b->sync_every) {
		if (!b->flushing) {
			if (b->next != b->batch_end || b->batch_start == b->next || b->stop_error)
				break;
			b->flushing = collect_files(b);
			return !b->flushing && b->next == b->count;
		}
		if (b->flush_next < b->flush_count && !b->stop_error)
			return 0;
		start_next_batch(b);
	}
	return !b->in_flight && b->first_again < 0 && b->next == b->count && !b->flushing;
}

/* How many completions are worth waiting for. */
static unsigned worth_waiting(const struct uring_ring *r, const struct uring_bulk *b)
{
	int can_start = b->first_again >= 0 || (b->first_free >= 0 && !b->stop_error &&
		(b->flushing ? b->flush_next < b->flush_count : b->next < b->batch_end));
	unsigned wanted;

	if (can_start)
		return 0;
	if (!b->in_flight)
		return b->stop_error && r->bulk_cancels;
	wanted = b->in_flight / 4;
	if (wanted > b->batch)
		wanted = b->batch;
	return wanted ? wanted : 1;
}

static int enter(struct uring_ring *r, const struct uring_bulk *b, int64_t rest_ns)
{
	unsigned wanted = b->is_eager && b->in_flight ? 0 : worth_waiting(r, b);
	struct __kernel_timespec spec = { .tv_sec = rest_ns / 1000000000, .tv_nsec = rest_ns % 1000000000 };
	struct io_uring_cqe *cqe;
	int ret;

	/* Submitting alone would leave what the kernel's thread has not taken in the way. */
	if (!wanted && (r->ring->flags & IORING_SETUP_SQPOLL) && !io_uring_sq_space_left(r->ring)) {
		ret = io_uring_submit(r->ring);
		if (ret >= 0)
			io_uring_sqring_wait(r->ring);
		return ret;
	}
	if (!wanted)
		return io_uring_submit_and_wait(r->ring, 0);
	return io_uring_submit_and_wait_timeout(r->ring, &cqe, wanted, &spec, NULL);
}

int uring_bulk_run(struct uring_ring *r, struct uring_bulk *b, int64_t slice_ns)
{
	int64_t end = now() + slice_ns;

	if (!uring_mine(r))
		return uring_refuse(r);
	if (!b->places)
		return URING_CLOSED;
	for (;;) {
		int64_t rest;
		int ret;

		if (b->stop_error)
			wind_down(r, b);
		if (is_done(r, b))
			return URING_BULK_DONE;
		if (!b->stop_error || b->first_again >= 0)
			fill(r, b);
		rest = end - now();
		ret = enter(r, b, rest > 0 ? rest : 0);
		uring_count_submitted(r, ret);
		reap_own(r, b);
		b->is_eager = !b->in_flight;
		if (uring_bulk_reap(r))
			return URING_BULK_MORE;		/* completions of others, who may wait for them */
		if (ret == -EINTR || rest <= 0)
			return is_done(r, b) ? URING_BULK_DONE : URING_BULK_MORE;
		if (ret < 0 && ret != -EAGAIN && ret != -EBUSY && ret != -ETIME)
			return ret;
	}
}

int uring_bulk_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *stats)
{
	return statx(dir_fd, path, flags, mask, stats) ? -errno : 0;
}

/* --- beginning and end ------------------------------------------------------------------------------- */

static int take_slots(struct uring_ring *r, struct uring_bulk *b)
{
	uint32_t leg;

	for (leg = 0; leg < b->depth * b->legs; leg++) {
		int32_t slot;

		if (r->first_free < 0 && !uring_slot_grow(r))
			return 0;
		slot = r->first_free;
		r->first_free = r->slots[slot].next_free;
		r->slots[slot].next_free = URING_SLOT_BUSY - 1 - (int32_t) (b->base + leg);
		places(b)[leg / b->legs].legs[leg % b->legs].slot = slot;
		places(b)[leg / b->legs].legs[leg % b->legs].user_data = uring_slot_tag(r, slot);
	}
	return 1;
}

int uring_bulk_begin(struct uring_ring *r, struct uring_bulk *b)
{
	uint32_t at;

	if (!uring_mine(r))
		return uring_refuse(r);
	b->legs = b->kind == URING_BULK_READ_FILE ? 2 : 1;
	b->base = r->bulk ? r->bulk->base + r->bulk->depth * r->bulk->legs : 0;
	b->next = b->finished = b->failed = b->transferred = b->retried = 0;
	b->in_flight = b->to_cancel = 0;
	b->stop_error = b->flushing = 0;
	b->is_eager = 1;
	b->batch_start = 0;
	b->batch_end = b->sync_every && b->sync_every < b->count ? b->sync_every : b->count;
	b->first_free = b->first_again = b->last_again = -1;
	b->places = calloc(b->depth, sizeof(struct place));
	if (b->sync_every)
		b->flush = malloc(b->batch_end * sizeof(*b->flush) + 1);
	if (!b->places || (b->sync_every && !b->flush)) {
		free(b->places);
		free(b->flush);
		b->places = NULL;
		b->flush = NULL;
		return -ENOMEM;
	}
	for (at = b->depth; at--;) {
		places(b)[at].legs[0].slot = places(b)[at].legs[1].slot = -1;
		places(b)[at].fd = -1;
		set_free(b, &places(b)[at]);
	}
	b->outer = r->bulk;
	r->bulk = b;
	if (take_slots(r, b))
		return 0;
	uring_bulk_end(r, b);
	return -ENOMEM;
}

void uring_bulk_stop(struct uring_bulk *b, int32_t error)
{
	if (!b->stop_error) {
		b->stop_error = error;
		b->to_cancel = 0;
	}
}

int32_t uring_bulk_slot(const struct uring_bulk *b, uint32_t leg)
{
	const struct leg *found;

	if (!b->places || leg >= b->depth * b->legs)
		return -1;
	found = &places(b)[leg / b->legs].legs[leg % b->legs];
	return found->is_in_flight ? found->slot : -1;
}

void uring_bulk_end(struct uring_ring *r, struct uring_bulk *b)
{
	struct uring_bulk **link = &r->bulk;
	uint32_t at;

	if (!b->places)
		return;
	while (*link && *link != b)
		link = &(*link)->outer;
	if (*link)
		*link = b->outer;
	for (at = 0; at < b->depth * b->legs; at++) {
		struct place *place = &places(b)[at / b->legs];
		struct leg *leg = &place->legs[at % b->legs];

		if (leg->slot < 0 || !r->slots)
			continue;
		r->slots[leg->slot].next_free = URING_SLOT_BUSY;
		r->in_flight++;
		if (!leg->is_in_flight)
			uring_slot_release(r, leg->slot);
	}
	if (!b->stop_error)
		b->stop_error = ECANCELED;
	for (at = 0; at < b->depth; at++) {
		struct place *place = &places(b)[at];

		close_file(b, place);
		if (!place->pending)
			free(place->content);
		else if (place->step != STEP_FLUSH)	/* the kernel may still write to the content */
			record(b, place->index, (int64_t) place->done, b->stop_error);
	}
	fail_unflushed(b);
	while (b->next < b->count)
		record(b, b->next++, 0, b->stop_error);
	free(b->places);
	free(b->flush);
	b->places = NULL;
	b->flush = NULL;
}
