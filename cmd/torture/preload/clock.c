// The time of day of a process, moved by as many seconds as a file says, from one moment to the next. Loaded first into
// PostgreSQL, which reads the time in signal handlers as well: so the file is mapped into memory, and nothing here
// allocates or locks. (libfaketime does, and backends abort.) Timers and the monotonic clock stay the kernel's, as on a
// machine whose clock is set.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *seconds;

__attribute__((constructor)) static void map_file(void) {
	const char *path = getenv("TORTURE_CLOCK");
	int file = open(path ? path : "", O_RDONLY | O_CLOEXEC);
	void *memory = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED) {
		static const char why[] = "clock.so: cannot map the file that TORTURE_CLOCK names\n";
		_exit(write(2, why, sizeof why - 1) < 0 ? 126 : 127);
	}
	close(file);
	seconds = memory;
}

int clock_gettime(clockid_t which, struct timespec *now) {
	int failed = (int)syscall(SYS_clock_gettime, which, now);
	if (!failed && seconds && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *seconds;
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
	struct timespec precise;
	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *into) {
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
	if (into) *into = now.tv_sec;
	return now.tv_sec;
}
