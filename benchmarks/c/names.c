/*
 * The floor for small files: one system call after the other.
 *
 *     names list=PATH mode=read|stat [dump=PATH]
 *
 * `list` holds paths, each with its null byte. Reading is open, fstat, read, close, into memory that is allocated for
 * each file and kept, as Python keeps it. `dump` gets all contents, or all sizes as 64-bit integers.
 */
#include "bench.h"

struct piece {
	char *data;
	int64_t size;
};

static int read_file(const char *path, struct piece *piece)
{
	struct stat found;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &found))
		return fail(path, errno);
	piece->size = found.st_size;
	piece->data = malloc(found.st_size + 1);
	if (!piece->data)
		return fail(path, ENOMEM);
	/* One byte more than it has: a file that has grown would show. */
	if (read(fd, piece->data, found.st_size + 1) != found.st_size)
		return fail(path, errno ? errno : EIO);
	return close(fd) ? fail(path, errno) : 0;
}

static int stat_file(const char *path, struct piece *piece)
{
	struct stat found;

	if (stat(path, &found))
		return fail(path, errno);
	piece->size = found.st_size;
	return 0;
}

static int dump_all(const char *path, const struct piece *pieces, size_t count, int is_read)
{
	FILE *file = fopen(path, "w");
	int is_good = file != NULL;

	for (size_t i = 0; is_good && i < count; i++) {
		const void *data = is_read ? (const void *) pieces[i].data : &pieces[i].size;
		size_t size = is_read ? (size_t) pieces[i].size : sizeof(pieces[i].size);

		is_good = fwrite(data, 1, size, file) == size;
	}
	return !is_good || fclose(file) ? fail(path, EIO) : 0;
}

int main(int argc, char **argv)
{
	const char *mode = text(argv, "mode"), *dumped = text(argv, "dump"), *list, *at;
	int (*look)(const char *, struct piece *) = mode && !strcmp(mode, "stat") ? stat_file : read_file;
	struct piece *pieces;
	size_t bytes = 0, count = 0, i = 0;
	struct moment start;

	list = contents(text(argv, "list"), &bytes);
	if (!list)
		return fail("list", errno);
	for (at = list; at < list + bytes; at += strlen(at) + 1)
		count++;
	pieces = calloc(count, sizeof(*pieces));
	if (!pieces)
		return fail("list", ENOMEM);
	start = now();
	for (at = list; at < list + bytes; at += strlen(at) + 1)
		if (look(at, &pieces[i++]))
			return 1;
	print_taken(start);
	return dumped ? dump_all(dumped, pieces, count, look == read_file) : 0;
}
