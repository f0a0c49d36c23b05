/*
 * The floor without io_uring: one pread or pwrite after the other, with one buffer.
 *
 *     plain file=PATH offsets=PATH count=N size=BYTES [direct=1] [write=1] [sync_every=N] [dump=PATH]
 *
 * As `window`; `dump` gets what each read has brought.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	const char *path = text(argv, "file"), *dumped = text(argv, "dump");
	size_t count = number(argv, "count", 1), size = number(argv, "size", 4096), bytes = 0;
	size_t sync_every = number(argv, "sync_every", 0), slots = dumped ? count : 1;
	int writes = number(argv, "write", 0);
	const int64_t *offsets = contents(text(argv, "offsets"), &bytes);
	size_t places = bytes / sizeof(*offsets);
	struct moment start;
	char *memory;
	int fd;

	if (!path || !places)
		return fail("file, offsets", EINVAL);
	fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | (number(argv, "direct", 0) ? O_DIRECT : 0));
	memory = pages(slots * size);
	if (fd < 0 || !memory)
		return fail(path, errno);
	if (writes && pread(fd, memory, size, 0) != (ssize_t) size)
		return fail(path, EIO);
	start = now();
	for (size_t i = 0; i < count; i++) {
		int64_t offset = offsets[i % places];
		ssize_t done = writes ? pwrite(fd, memory, size, offset) : pread(fd, memory + i % slots * size, size, offset);

		if (done != (ssize_t) size)
			return fail("a transfer", done < 0 ? errno : EIO);
		if (sync_every && ((i + 1) % sync_every == 0 || i + 1 == count) && fdatasync(fd))
			return fail("fdatasync", errno);
	}
	print_taken(start);
	return dumped ? dump(dumped, memory, slots * size) : 0;
}
