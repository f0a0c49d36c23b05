/*
 * The floor without io_uring: pread of given places into one buffer.
 *
 *     pread PATH OFFSETS COUNT SIZE DIRECT
 */
#define _GNU_SOURCE
#include "bench.h"

int main(int argc, char **argv)
{
	size_t count, size, i;
	long long *offsets;
	struct taken start;
	char *memory;
	int fd;

	if (argc != 6)
		return fail("five arguments are needed", EINVAL);
	count = strtoull(argv[3], NULL, 10);
	size = strtoull(argv[4], NULL, 10);
	offsets = read_offsets(argv[2], count);
	fd = open(argv[1], O_RDONLY | (atoi(argv[5]) ? O_DIRECT : 0));
	memory = pages(size);
	if (!offsets || fd < 0 || !memory)
		return fail(argv[1], errno);
	start = now();
	for (i = 0; i < count; i++)
		if (pread(fd, memory, size, offsets[i]) != (ssize_t) size)
			return fail("pread", errno ? errno : EIO);
	print_since(start);
	return 0;
}
