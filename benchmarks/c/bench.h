/* What the baselines share: a clock for wall, user and system time, offsets from a file, and words for what fails. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct taken {
	long long wall, user, system;
};

static inline long long nanoseconds(struct timeval time)
{
	return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

static inline struct taken now(void)
{
	struct timespec spec;
	struct rusage usage;

	clock_gettime(CLOCK_MONOTONIC, &spec);
	getrusage(RUSAGE_SELF, &usage);
	return (struct taken) { spec.tv_sec * 1000000000LL + spec.tv_nsec, nanoseconds(usage.ru_utime), nanoseconds(usage.ru_stime) };
}

static inline void print_since(struct taken start)
{
	struct taken end = now();

	printf("%lld %lld %lld\n", end.wall - start.wall, end.user - start.user, end.system - start.system);
}

static inline int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	return 1;
}

/* `count` 64-bit offsets from a file; NULL when it has not that many. */
static inline long long *read_offsets(const char *path, size_t count)
{
	long long *offsets = malloc(count * sizeof(*offsets) + 1);
	int fd = open(path, O_RDONLY);
	size_t done = 0;

	while (fd >= 0 && offsets && done < count * sizeof(*offsets)) {
		ssize_t got = read(fd, (char *) offsets + done, count * sizeof(*offsets) - done);

		if (got <= 0)
			break;
		done += got;
	}
	if (fd >= 0)
		close(fd);
	return offsets && done == count * sizeof(*offsets) ? offsets : NULL;
}

static inline char *pages(size_t size)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

#endif
