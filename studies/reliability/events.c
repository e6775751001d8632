/* Counts the file events of a command, and at the n-th kills it or lets the event fail: LD_PRELOAD, Linux.

   MINT_EVENT is n from 1; MINT_DEED is "kill" or an errno; only files under MINT_UNDER count. Workers count for
   themselves. MINT_COUNT names a file that gets a byte for each event, so that a first run says how many there are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int count;

static int under(const char *path) {
    const char *wanted = getenv("MINT_UNDER");
    return wanted && path && strncmp(path, wanted, strlen(wanted)) == 0;
}

static int of_descriptor(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return under(path);
}

/* Returns 1 if this event fails; errno is set. */
static int event(void) {
    const char *at = getenv("MINT_EVENT"), *deed = getenv("MINT_DEED"), *tally = getenv("MINT_COUNT");
    int number = __sync_add_and_fetch(&count, 1);
    if (tally) {
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        int fd = real(tally, O_WRONLY | O_CREAT | O_APPEND, 0600);
        ssize_t (*write_real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (fd >= 0) { write_real(fd, ".", 1); close(fd); }
    }
    if (!at || !deed || number != atoi(at)) return 0;
    if (strcmp(deed, "kill") == 0) kill(getpid(), SIGKILL);
    errno = atoi(deed);
    return 1;
}

ssize_t write(int fd, const void *buffer, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (of_descriptor(fd) && event()) return -1;
    return real(fd, buffer, size);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (of_descriptor(fd) && event()) return -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (under(to) && event()) return -1;
    return real(from, to);
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    if (under(path) && event()) return -1;
    return real(path);
}

int mkdir(const char *path, unsigned mode) {
    int (*real)(const char *, unsigned) = dlsym(RTLD_NEXT, "mkdir");
    if (under(path) && event()) return -1;
    return real(path, mode);
}

static int opening(const char *name, const char *path, int flags, unsigned mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && under(path) && event()) return -1;
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    unsigned mode = va_arg(rest, unsigned);
    va_end(rest);
    return opening("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    unsigned mode = va_arg(rest, unsigned);
    va_end(rest);
    return opening("open64", path, flags, mode);
}

/* From the MINT_CLOCK-th question on, the time of day is an hour earlier. */
int clock_gettime(clockid_t clock, struct timespec *found) {
    static int asked;
    const char *at = getenv("MINT_CLOCK");
    int result = syscall(SYS_clock_gettime, clock, found);
    if (clock == CLOCK_REALTIME && at && __sync_add_and_fetch(&asked, 1) >= atoi(at)) found->tv_sec -= 3600;
    return result;
}
