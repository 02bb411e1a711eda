/* Lets the N-th write, sync or truncation of the database and its log fail, once or from then on, not end until that is
 * over, or be the last thing that the process does; and keeps beside each file what of it was synced. Loaded with LD_PRELOAD;
 * what to do, and how often it struck, stands in the file FAULT_CONTROL. */
#define _GNU_SOURCE
#include "control.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/types.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4 };
enum { DIE = 0, STALL = -1 };

/* No test lets a call wait for longer, milliseconds: whoever is to end it waits for it. */
enum { LONGEST = 20000 };

static volatile struct {
    int what, at, forever, error; /* an errno, or one of the above */
    int seen, struck;
    int keeps, overslept;
} *volatile control;

__attribute__((constructor)) static void begin(void) { control = control_page(); }

/* Whether it is of the database; then its path, with room for a letter more. */
static int is_ours(int descriptor, char path[4096]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, 4096 - 2);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "agent-monitor.db") != NULL;
}

static int strikes(int what, int descriptor) {
    char path[4096];
    if (!control || !(control->what & what) || !is_ours(descriptor, path)) return 0;
    int seen = __sync_add_and_fetch(&control->seen, 1), error = control->error;
    if (control->forever ? seen < control->at : seen != control->at) return 0;
    __sync_add_and_fetch(&control->struck, 1);
    if (error == DIE) raise(SIGKILL);
    if (error == STALL) {
        int waited = 0;
        while (control->what && waited++ < LONGEST) usleep(1000);
        control->overslept |= waited > LONGEST;
        return 0;
    }
    errno = error;
    return 1;
}

/* What was synced is what a power failure leaves. */
static int synced(int done, int descriptor) {
    char path[4096];
    if (done || !control || !control->keeps || !is_ours(descriptor, path)) return done;
    int copy = open(strcat(path, "~"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t at = 0;
    while (sendfile(copy, descriptor, &at, 1 << 30) > 0) {}
    close(copy);
    return done;
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
int fsync(int d) { return strikes(SYNC, d) ? -1 : synced(REAL(fsync)(d), d); }
int fdatasync(int d) { return strikes(SYNC, d) ? -1 : synced(REAL(fdatasync)(d), d); }
int ftruncate(int d, off_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate)(d, length); }
int ftruncate64(int d, off64_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate64)(d, length); }
