/*
 * Bulk calls: many requests of one kind, made and completed in C, a window of them in flight.
 *
 * A struct uring_bulk holds the work, its results and all of its state, so that a run may stop anywhere and go on
 * later: for signals, for progress, for completions of other requests on the same ring. Each request of the window is
 * in one place of it. A place has slots of its own in the ring's table (see uring.h), marked as bulk, so that whoever
 * reaps hands its completions to the bulk call that they belong to.
 */
#ifndef URING_BULK_H
#define URING_BULK_H

#include <stdint.h>
#include "liburing.h"
#include "uring.h"

enum uring_bulk_kind {
	URING_BULK_NOP,
	URING_BULK_READ,
	URING_BULK_WRITE,
	URING_BULK_STAT,
	URING_BULK_OPEN,
	URING_BULK_UNLINK,
	URING_BULK_READ_FILE,
};

/* What a run returns; other values are refusals and -errno. */
enum uring_bulk_answer {
	URING_BULK_MORE = 0,	/* call again: for the time that has passed, a signal, or others' completions */
	URING_BULK_DONE = 1,
};

/* What uring_bulk_check finds. */
enum uring_bulk_fault {
	URING_BULK_BAD_FILE = 1,
	URING_BULK_BAD_OFFSET,
	URING_BULK_BAD_LENGTH,
	URING_BULK_BAD_POSITION,
	URING_BULK_BAD_END,	/* beyond the end of the memory */
};

/* The caller's integers, where they lie, or an arithmetic series. */
struct uring_numbers {
	const void *data;	/* NULL: first + i * step */
	int64_t first;
	int64_t step;
	int32_t width;		/* bytes of each: 8 or 4 */
	int32_t is_unsigned;
};

/* Files that were read whole: where each one's bytes are. */
struct uring_contents {
	struct iovec *files;
	void *blocks;		/* private: what small files were copied to */
	uint64_t room;		/* private: bytes left in the last block */
	char *next;		/* private: where they begin */
	uint64_t count;
};

struct uring_bulk {
	/* The work. */
	int32_t kind;
	uint32_t depth;			/* requests in flight at most: places of the window */
	uint32_t batch;			/* SQEs that are prepared for one submit */
	uint64_t options;		/* as for a fused call */
	uint64_t count;			/* requests in all */
	struct uring_numbers files;	/* descriptors, or slots of the table of registered files */
	struct uring_numbers offsets;
	struct uring_numbers lengths;
	struct uring_numbers positions;	/* where in `memory` each request's bytes are */
	char *memory;
	uint64_t memory_size;
	struct iovec *vectors;		/* a buffer for each request, in place of memory and positions */
	int32_t buffer_index;		/* `memory` is registered from this index on; -1: it is not */
	uint64_t buffer_span;		/* bytes of each such registered buffer but the last */
	uint32_t alignment;		/* reads that are not aligned to it are widened; 0: none are */
	char *bounce;			/* where those go: `bounce_size` bytes for each place */
	uint64_t bounce_size;
	int32_t bounce_index;		/* the same as a registered buffer; -1: it is none */
	uint64_t sync_every;		/* flush the files after so many writes; 0: never */
	uint32_t sync_flags;
	int32_t dir_fd;
	const char *names;		/* paths, each with its null byte */
	struct uring_numbers name_at;	/* where in `names` each begins */
	uint32_t flags;			/* of open, statx, unlink */
	uint32_t mode;			/* of open; the mask of statx */
	struct statx *stats;
	struct uring_numbers direct;	/* open: slots to open into; read whole files: the first of `depth` slots */
	int32_t is_direct;
	struct uring_contents *contents;
	/* What came of it. */
	int64_t *counts;		/* bytes; of open the descriptor, or -1; NULL: not wanted */
	int32_t *errors;		/* errno, 0 for success */
	/* How far it is. */
	uint64_t next;			/* requests that were started */
	uint64_t finished;
	uint64_t failed;
	uint64_t transferred;		/* bytes */
	uint64_t retried;		/* requests that were made again: short ones, EAGAIN, EINTR */
	uint32_t in_flight;		/* SQEs without their CQE */
	int32_t stop_error;		/* 0, or what the requests get that are not complete when it was stopped */
	/* Private. */
	void *places;
	struct uring_bulk *outer;	/* a bulk call inside of which this one was started */
	uint32_t base;			/* the number of its first leg on this ring */
	uint32_t legs;			/* SQEs of one place that are in flight together, and so slots */
	int32_t first_free;
	int32_t first_again;
	int32_t last_again;
	uint32_t to_cancel;		/* after a stop: legs from here on are still to be looked at */
	uint64_t batch_start;		/* writes since the last flush */
	uint64_t batch_end;
	int32_t *flush;			/* files to flush */
	uint32_t flush_count;
	uint32_t flush_next;
	int32_t flushing;
	int32_t is_eager;		/* so far all has completed inside of the submission */
};

/* The first request whose numbers cannot be, or -1. `fault` tells what is wrong. */
int64_t uring_bulk_check(const struct uring_bulk *b, int32_t *fault);

/*
 * How many bytes all requests are about, and the longest one, into `sums[0]` and `sums[1]`; with `positions`, where each
 * one's bytes begin when they lie one behind the other. The first request whose length cannot be, or -1.
 */
int64_t uring_bulk_survey(const struct uring_bulk *b, int64_t *positions, int64_t *sums);

/* Take places and slots. 0, -ENOMEM, or a refusal. */
int uring_bulk_begin(struct uring_ring *r, struct uring_bulk *b);

/* Go on for `slice_ns` at most. See enum uring_bulk_answer. */
int uring_bulk_run(struct uring_ring *r, struct uring_bulk *b, int64_t slice_ns);

/* Start nothing more; cancel what is in flight. What is not complete gets this errno. Run until it is done. */
void uring_bulk_stop(struct uring_bulk *b, int32_t error);

/* Give places and slots back. What is still in flight keeps its slots, which are ordinary ones from now on. */
void uring_bulk_end(struct uring_ring *r, struct uring_bulk *b);

/* The slot of a leg whose SQE is in flight, else -1. `leg` is from 0 to depth * legs - 1. */
int32_t uring_bulk_slot(const struct uring_bulk *b, uint32_t leg);

/* Contents for so many files, or NULL; and their end. */
struct uring_contents *uring_contents_new(uint64_t count);
void uring_contents_free(struct uring_contents *contents);

/* statx(2) without a ring: 0 or -errno. */
int uring_bulk_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *stats);

/*
 * The tensor in a DLPack capsule, given its id(), or NULL: where its memory is, and how many bytes it has, -1 when they
 * do not lie one behind the other.
 */
const void *uring_bulk_tensor(uintptr_t capsule);
void *uring_bulk_tensor_data(const void *description);
int64_t uring_bulk_tensor_size(const void *description);

/* Private to C: the completion of a bulk call's slot, and an SQE of it that was taken back before it was submitted. */
void uring_bulk_complete(struct uring_ring *r, int32_t slot, int32_t res);

#endif
