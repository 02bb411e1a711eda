/* Lets the N-th write, sync or truncation of the database and its log fail, once or from then on, or be the last thing that
 * the process does. Loaded with LD_PRELOAD; what to do, and how often it struck, stands in the file FAULT_CONTROL. */
#define _GNU_SOURCE
#include "control.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4 };

static struct {
    int what, at, forever, error; /* error 0: die */
    int seen, struck;
} *volatile control;

__attribute__((constructor)) static void begin(void) { control = control_page(); }

static int strikes(int what, int descriptor) {
    char link[64], path[4096];
    if (!control || !(control->what & what)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, "agent-monitor.db")) return 0;
    int seen = __sync_add_and_fetch(&control->seen, 1);
    if (control->forever ? seen < control->at : seen != control->at) return 0;
    __sync_add_and_fetch(&control->struck, 1);
    if (control->error == 0) raise(SIGKILL);
    errno = control->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int d, const void *bytes, size_t count) {
    return strikes(WRITE, d) ? -1 : REAL(write)(d, bytes, count);
}
ssize_t pwrite(int d, const void *bytes, size_t count, off_t at) {
    return strikes(WRITE, d) ? -1 : REAL(pwrite)(d, bytes, count, at);
}
ssize_t pwrite64(int d, const void *bytes, size_t count, off64_t at) {
    return strikes(WRITE, d) ? -1 : REAL(pwrite64)(d, bytes, count, at);
}
int fsync(int d) { return strikes(SYNC, d) ? -1 : REAL(fsync)(d); }
int fdatasync(int d) { return strikes(SYNC, d) ? -1 : REAL(fdatasync)(d); }
int ftruncate(int d, off_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate)(d, length); }
int ftruncate64(int d, off64_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate64)(d, length); }
