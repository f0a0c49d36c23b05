/*
 * What the baselines share: arguments of the form name=value, a clock, and words for what fails.
 *
 * Each program makes ready what it needs, takes the time of its work alone, and prints it by `print_taken`.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct moment {
	int64_t wall, cpu, user, system;
};

static inline int fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	return 1;
}

/* The value of an argument, or NULL. */
static inline const char *text(char **argv, const char *name)
{
	size_t length = strlen(name);

	while (*++argv)
		if (!strncmp(*argv, name, length) && (*argv)[length] == '=')
			return *argv + length + 1;
	return NULL;
}

static inline int64_t number(char **argv, const char *name, int64_t otherwise)
{
	const char *found = text(argv, name);

	return found ? strtoll(found, NULL, 10) : otherwise;
}

static inline int64_t clock_ns(clockid_t clock)
{
	struct timespec spec;

	clock_gettime(clock, &spec);
	return spec.tv_sec * INT64_C(1000000000) + spec.tv_nsec;
}

static inline int64_t timeval_ns(struct timeval time)
{
	return time.tv_sec * INT64_C(1000000000) + time.tv_usec * INT64_C(1000);
}

static inline struct moment now(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (struct moment) {
		.wall = clock_ns(CLOCK_MONOTONIC), .cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID),
		.user = timeval_ns(used.ru_utime), .system = timeval_ns(used.ru_stime),
	};
}

/*
 * `wall_ns user_ns system_ns peak_kib` since then. The CPU clock is exact; rusage tells only in what proportion it was
 * user and system time. Kernel threads that work for a ring are threads of the process, and in it.
 */
static inline void print_taken(struct moment start)
{
	struct moment end = now();
	struct rusage used;
	int64_t cpu = end.cpu - start.cpu, user = end.user - start.user, whole = user + end.system - start.system;

	user = whole ? (int64_t) ((double) cpu * user / whole) : cpu;
	getrusage(RUSAGE_SELF, &used);
	printf("%lld %lld %lld %ld\n", (long long) (end.wall - start.wall), (long long) user, (long long) (cpu - user),
		used.ru_maxrss);
}

/* A whole file, mapped and touched; NULL with errno. */
static inline const void *contents(const char *path, size_t *size)
{
	struct stat found;
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *memory = MAP_FAILED;

	if (!path)
		errno = EINVAL;
	if (fd >= 0 && !fstat(fd, &found) && found.st_size)
		memory = mmap(NULL, found.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (memory == MAP_FAILED)
		return NULL;
	*size = found.st_size;
	return memory;
}

/* Aligned memory whose pages are there; NULL with errno. */
static inline char *pages(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Write memory to a new file: what was read, for a digest, or latencies. */
static inline int dump(const char *path, const void *memory, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t done = 0;

	while (fd >= 0 && done < size) {
		ssize_t wrote = write(fd, (const char *) memory + done, size - done);

		if (wrote <= 0)
			break;
		done += wrote;
	}
	return fd < 0 || close(fd) || done < size ? fail(path, errno ? errno : EIO) : 0;
}

#endif
