/*
 * A failing disk between the real command and libc: loaded with LD_PRELOAD, it counts the calls on
 * files below one folder, and injects a fault at one of them. With it, the tests of faults.rs,
 * kills.rs and processes.rs walk through all calls of a commit.
 *
 *   FAULT_FOLDER  the folder, without a trailing slash; if unset, nothing is counted
 *   FAULT_LOG     a file elsewhere: one line per call, `NUMBER NAME PATH OUTCOME`; OUTCOME is `-`
 *                 or the fault
 *   FAULT_AT      the number of the call, from 1; if 0 or unset, calls are only counted
 *   FAULT_KIND    EIO, ENOSPC, EACCES: fails the call with this error, without making it
 *                 short: writes half; full: the same, and the disk stays full
 *                 kill-before, kill-after: SIGKILL around the call; kill-half: after half a write
 *                 stop: SIGSTOP after the call
 *   FAULT_STICKY  if set, every later call fails as well (the E... kinds)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Action to take on a call. */
enum action { PASS, FAIL, HALF, KILL_BEFORE, KILL_AFTER, KILL_HALF, STOP_AFTER };

static atomic_int calls;
static atomic_int disk_is_full;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

/* Returns the part of an absolute path below the folder (`.` for the folder itself), or NULL. */
static const char *below(const char *path) {
    const char *folder = setting("FAULT_FOLDER");
    size_t length = strlen(folder);
    if (!length || !path || strncmp(path, folder, length)) return NULL;
    if (!path[length]) return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *below_fd(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return below(buffer);
}

static void note(int number, const char *name, const char *path, const char *outcome) {
    const char *log = setting("FAULT_LOG");
    if (!*log) return;
    char line[PATH_MAX + 128];
    int length = snprintf(line, sizeof line, "%d %s %s %s\n", number, name, path, outcome);
    int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    if (REAL(write)(fd, line, length) != length) abort();
    close(fd);
}

static int errno_of(const char *kind) {
    if (!strcmp(kind, "EIO")) return EIO;
    if (!strcmp(kind, "ENOSPC")) return ENOSPC;
    if (!strcmp(kind, "EACCES")) return EACCES;
    return 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static enum action decide_fault(const char *kind, int is_write) {
    if (errno_of(kind)) { errno = errno_of(kind); return FAIL; }
    if (!strcmp(kind, "full")) {
        disk_is_full = 1;
        errno = ENOSPC;
        return is_write ? HALF : FAIL;
    }
    if (!strcmp(kind, "short")) return is_write ? HALF : PASS;
    if (!strcmp(kind, "kill-before")) return KILL_BEFORE;
    if (!strcmp(kind, "kill-after")) return KILL_AFTER;
    if (!strcmp(kind, "kill-half")) return is_write ? KILL_HALF : PASS;
    if (!strcmp(kind, "stop")) return STOP_AFTER;
    abort();
}

/* Counts one call and returns the action to take; sets errno for FAIL. */
static enum action decide(const char *name, const char *path) {
    if (!path) return PASS;
    int number = ++calls, at = atoi(setting("FAULT_AT"));
    const char *kind = setting("FAULT_KIND");
    int is_write = !strcmp(name, "write");
    enum action action = PASS;
    if (at && (number == at || (number > at && *setting("FAULT_STICKY")))) {
        action = decide_fault(kind, is_write);
    } else if (disk_is_full && is_write) {
        errno = ENOSPC;
        action = FAIL;
    }
    int kept = errno;
    note(number, name, path, action == PASS ? "-" : kind);
    errno = kept;
    if (action == KILL_BEFORE) die();
    return action;
}

static void after(enum action action) {
    if (action == KILL_AFTER || action == KILL_HALF) die();
    if (action == STOP_AFTER) raise(SIGSTOP);
}

/* Counts a call and makes it, or returns `failed`. */
#define CALL(type, failed, name, path, call)          \
    do {                                              \
        enum action action = decide(name, path);      \
        if (action == FAIL) return failed;            \
        type result = call;                           \
        int kept = errno;                             \
        after(action);                                \
        errno = kept;                                 \
        return result;                                \
    } while (0)

#define MODE(flags)                                   \
    mode_t mode = 0;                                  \
    if ((flags) & (O_CREAT | O_TMPFILE)) {            \
        va_list rest;                                 \
        va_start(rest, flags);                        \
        mode = va_arg(rest, mode_t);                  \
        va_end(rest);                                 \
    }

static const char *opening(int flags) {
    if (flags & O_CREAT) return "create";
    return (flags & O_ACCMODE) == O_RDONLY ? "open" : "open-to-write";
}

int open(const char *path, int flags, ...) {
    MODE(flags)
    CALL(int, -1, opening(flags), below(path), REAL(open)(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    CALL(int, -1, opening(flags), below(path), REAL(open64)(path, flags, mode));
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    CALL(int, -1, opening(flags), below(path), REAL(openat)(folder, path, flags, mode));
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    CALL(int, -1, opening(flags), below(path), REAL(openat64)(folder, path, flags, mode));
}
DIR *opendir(const char *path) {
    CALL(DIR *, NULL, "list", below(path), REAL(opendir)(path));
}
char *realpath(const char *path, char *resolved) {
    CALL(char *, NULL, "find", below(path), REAL(realpath)(path, resolved));
}
int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    CALL(int, -1, "stat", below(path), REAL(statx)(folder, path, flags, mask, found));
}
ssize_t read(int fd, void *bytes, size_t length) {
    char buffer[PATH_MAX];
    CALL(ssize_t, -1, "read", below_fd(fd, buffer), REAL(read)(fd, bytes, length));
}
ssize_t write(int fd, const void *bytes, size_t length) {
    char buffer[PATH_MAX];
    enum action action = decide("write", below_fd(fd, buffer));
    if (action == FAIL) return -1;
    if (action == HALF || action == KILL_HALF) length = (length + 1) / 2;
    ssize_t written = REAL(write)(fd, bytes, length);
    int kept = errno;
    after(action);
    errno = kept;
    return written;
}
int fsync(int fd) {
    char buffer[PATH_MAX];
    CALL(int, -1, "sync", below_fd(fd, buffer), REAL(fsync)(fd));
}
int fdatasync(int fd) {
    char buffer[PATH_MAX];
    CALL(int, -1, "sync", below_fd(fd, buffer), REAL(fdatasync)(fd));
}
int ftruncate(int fd, off_t length) {
    char buffer[PATH_MAX];
    CALL(int, -1, "truncate", below_fd(fd, buffer), REAL(ftruncate)(fd, length));
}
int ftruncate64(int fd, off64_t length) {
    char buffer[PATH_MAX];
    CALL(int, -1, "truncate", below_fd(fd, buffer), REAL(ftruncate64)(fd, length));
}
int flock(int fd, int operation) {
    char buffer[PATH_MAX];
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    CALL(int, -1, "lock", below_fd(fd, buffer), real(fd, operation));
}
int rename(const char *from, const char *to) {
    CALL(int, -1, "rename", below(to), REAL(rename)(from, to));
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    CALL(int, -1, "rename", below(to), REAL(renameat)(from_folder, from, to_folder, to));
}
int link(const char *from, const char *to) {
    CALL(int, -1, "link", below(to), REAL(link)(from, to));
}
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    CALL(int, -1, "link", below(to), REAL(linkat)(from_folder, from, to_folder, to, flags));
}
int unlink(const char *path) {
    CALL(int, -1, "remove", below(path), REAL(unlink)(path));
}
int unlinkat(int folder, const char *path, int flags) {
    CALL(int, -1, "remove", below(path), REAL(unlinkat)(folder, path, flags));
}
