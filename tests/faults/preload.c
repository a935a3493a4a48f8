/* Records what a process does to the files below a directory, and makes some of it fail.
 *
 * Loaded with LD_PRELOAD. FAULTS_ROOT is the directory. FAULTS_LOG is the file that the record
 * is appended to. FAULTS_RULE makes calls fail: KIND:FIRST:COUNT:ERRNO, where KIND is w (writes),
 * s (syncs) or a (both), FIRST the number of the call from 1, COUNT how many fail, and ERRNO the
 * error, or 0 for a write of half the bytes.
 *
 * An entry: u8 kind, u64 a, u64 b, u32 n, n bytes, u32 m, m bytes.
 *   W inode, offset, data, (1 byte: whether it is durable at once)   S inode   T inode, length
 *   C inode, path   M inode, path   R old path, new path   L old path, new path   U path   D path
 *   A text: an acknowledgement, which is a write to descriptor 1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root;
static size_t root_size;
static int log_fd = -1;
static char rule_kind;
static long rule_first, rule_count;
long faults_calls;
static int rule_errno;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    return real(fd, data, size);
}

static void start(void)
{
    static int started;
    if (started) return;
    started = 1;
    root = getenv("FAULTS_ROOT");
    root_size = root ? strlen(root) : 0;
    const char *log = getenv("FAULTS_LOG"), *rule = getenv("FAULTS_RULE");
    if (log && *log) {
        REAL(int, open, const char *, int, ...);
        log_fd = real(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    if (rule) sscanf(rule, "%c:%ld:%ld:%d", &rule_kind, &rule_first, &rule_count, &rule_errno);
}

/* Set the rule from within the process. */
void faults_rule(char kind, long first, long count, int error)
{
    start();
    rule_kind = kind, rule_first = first, rule_count = count, rule_errno = error;
    faults_calls = 0;
}

static int below(const char *path)
{
    start();
    return root && !strncmp(path, root, root_size);
}

/* Whether a descriptor is of a file below the root; gives its inode. */
static int known(int fd, uint64_t *inode)
{
    char link[64], path[PATH_MAX];
    struct stat status;
    start();
    if (!root) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    if (!below(path) || fstat(fd, &status)) return 0;
    *inode = status.st_ino;
    return 1;
}

static void entry(char kind, uint64_t a, uint64_t b, const void *x, uint32_t n, const void *y,
                  uint32_t m)
{
    if (log_fd < 0) return;
    size_t size = 1 + 8 + 8 + 4 + n + 4 + m;
    char *all = malloc(size), *at = all;
    *at++ = kind;
    memcpy(at, &a, 8), at += 8;
    memcpy(at, &b, 8), at += 8;
    memcpy(at, &n, 4), at += 4;
    if (n) memcpy(at, x, n);
    at += n;
    memcpy(at, &m, 4), at += 4;
    if (m) memcpy(at, y, m);
    plain_write(log_fd, all, size);
    free(all);
}

/* Whether this call is to fail: 0 no, 1 with errno set, 2 half of it only. */
static int fails(char kind)
{
    if (rule_kind != kind && rule_kind != 'a') return 0;
    faults_calls++;
    if (faults_calls < rule_first || faults_calls >= rule_first + rule_count) return 0;
    if (!rule_errno) return kind == 'w' ? 2 : 0;
    errno = rule_errno;
    return 1;
}

static int durable(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_DSYNC);
}

static ssize_t put(int fd, const struct iovec *parts, int count, off_t at)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    /* a file opened with O_DIRECT wants the caller's own buffer, which is aligned */
    char *own = count > 1 ? malloc(size ? size : 1) : NULL, *end = own;
    for (int i = 0; i < count && own; i++) {
        memcpy(end, parts[i].iov_base, parts[i].iov_len);
        end += parts[i].iov_len;
    }
    const char *data = own ? own : parts[0].iov_base;
    uint64_t inode;
    ssize_t done = -1;
    if (fd == 1 && root) {
        pthread_mutex_lock(&mutex);
        done = plain_write(fd, data, size);
        entry('A', 0, 0, data, size, NULL, 0);
        pthread_mutex_unlock(&mutex);
    } else if (!known(fd, &inode)) {
        done = at >= 0 ? real(fd, data, size, at) : plain_write(fd, data, size);
    } else {
        pthread_mutex_lock(&mutex);
        int failure = fails('w');
        if (failure == 2 && size > 1) size /= 2;
        if (failure != 1) {
            off_t where = at >= 0 ? at : lseek(fd, 0, SEEK_CUR);
            done = at >= 0 ? real(fd, data, size, at) : plain_write(fd, data, size);
            char now = durable(fd);
            if (done > 0) entry('W', inode, where, data, done, &now, 1);
        }
        pthread_mutex_unlock(&mutex);
    }
    int error = errno;
    free(own);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {(void *)data, size};
    return put(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return put(fd, parts, count, -1); }

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at)
{
    struct iovec part = {(void *)data, size};
    return put(fd, &part, 1, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return put(fd, parts, count, at); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return put(fd, parts, count, at); }

static int sync_(int fd, int (*call)(int))
{
    uint64_t inode;
    if (!known(fd, &inode)) return call(fd);
    pthread_mutex_lock(&mutex);
    int done = fails('s') == 1 ? -1 : call(fd);
    if (!done) entry('S', inode, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return done;
}

int fsync(int fd)
{
    REAL(int, fsync, int);
    return sync_(fd, real);
}

int fdatasync(int fd)
{
    REAL(int, fdatasync, int);
    return sync_(fd, real);
}

int ftruncate64(int fd, off_t length)
{
    REAL(int, ftruncate64, int, off_t);
    uint64_t inode;
    int done = real(fd, length);
    if (!done && known(fd, &inode)) entry('T', inode, length, NULL, 0, NULL, 0);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* A path as the kernel resolves it, without resolving links. */
static const char *full(int dir, const char *path, char *out)
{
    char link[64];
    if (path[0] == '/') return path;
    ssize_t size;
    if (dir == AT_FDCWD) {
        if (!getcwd(out, PATH_MAX)) return path;
        size = strlen(out);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        size = readlink(link, out, PATH_MAX - 1);
        if (size < 0) return path;
    }
    snprintf(out + size, PATH_MAX - size, "/%s", path);
    return out;
}

static int open_(int dir, const char *name, int flags, mode_t mode)
{
    REAL(int, openat64, int, const char *, int, ...);
    char space[PATH_MAX];
    const char *path = full(dir, name, space);
    int there = !below(path) || !access(path, F_OK);
    int fd = real(dir, name, flags, mode);
    struct stat status;
    if (fd >= 0 && below(path) && !fstat(fd, &status)) {
        if (!there && (flags & O_CREAT)) entry('C', status.st_ino, 0, path, strlen(path), NULL, 0);
        if (there && (flags & O_TRUNC)) entry('T', status.st_ino, 0, NULL, 0, NULL, 0);
    }
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *path, int flags, ...) { MODE return open_(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return open_(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return open_(dir, path, flags, mode); }

static void named(char kind, int dir, const char *name, int to, const char *other)
{
    char one[PATH_MAX], two[PATH_MAX];
    const char *path = full(dir, name, one), *second = other ? full(to, other, two) : "";
    if (below(path)) entry(kind, 0, 0, path, strlen(path), second, strlen(second));
}

int renameat(int from, const char *old, int to, const char *new)
{
    REAL(int, renameat, int, const char *, int, const char *);
    int done = real(from, old, to, new);
    if (!done) named('R', from, old, to, new);
    return done;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    int done = real(from, old, to, new, flags);
    if (!done) named('L', from, old, to, new);
    return done;
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int dir, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int);
    int done = real(dir, path, flags);
    if (!done) named(flags & AT_REMOVEDIR ? 'D' : 'U', dir, path, 0, NULL);
    return done;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode)
{
    REAL(int, mkdirat, int, const char *, mode_t);
    int done = real(dir, path, mode);
    char space[PATH_MAX];
    const char *where = full(dir, path, space);
    struct stat status;
    if (!done && below(where) && !stat(where, &status))
        entry('M', status.st_ino, 0, where, strlen(where), NULL, 0);
    return done;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
