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
#include <sys/stat.h>
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
        while (control->what && !control->overslept && waited++ < LONGEST) usleep(1000);
        control->overslept |= waited > LONGEST;
        return 0;
    }
    errno = error;
    return 1;
}

/* What was written since the last sync: of the database, of its log or journal. Not less, whichever directory it is in. */
static struct { off_t from, to; } dirty[2];

static int is_log(const char *path) { return strstr(path, "agent-monitor.db")[strlen("agent-monitor.db")] == '-'; }

static ssize_t soil(int descriptor, off_t at, ssize_t count) {
    char path[4096];
    if (count <= 0 || !control || !control->keeps || !is_ours(descriptor, path)) return count;
    int which = is_log(path);
    if (!dirty[which].to || at < dirty[which].from) dirty[which].from = at;
    if (at + count > dirty[which].to) dirty[which].to = at + count;
    return count;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What was synced is what a power failure leaves. */
static int synced(int done, int descriptor) {
    char path[4096];
    struct stat now, then;
    if (done || !control || !control->keeps || !is_ours(descriptor, path) || fstat(descriptor, &now)) return done;
    int which = is_log(path), copy = open(strcat(path, "~"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fstat(copy, &then)) abort();
    off_t at = then.st_size ? dirty[which].from : 0, to = then.st_size ? dirty[which].to : now.st_size;
    lseek(copy, at, SEEK_SET);
    while (at < to && sendfile(copy, descriptor, &at, (size_t)(to - at)) > 0) {}
    if (REAL(ftruncate)(copy, now.st_size)) abort();
    close(copy);
    dirty[which].from = dirty[which].to = 0;
    return done;
}

ssize_t write(int d, const void *bytes, size_t count) {
    return strikes(WRITE, d) ? -1 : REAL(write)(d, bytes, count);
}
ssize_t pwrite(int d, const void *bytes, size_t count, off_t at) {
    return strikes(WRITE, d) ? -1 : soil(d, at, REAL(pwrite)(d, bytes, count, at));
}
ssize_t pwrite64(int d, const void *bytes, size_t count, off64_t at) {
    return strikes(WRITE, d) ? -1 : soil(d, at, REAL(pwrite64)(d, bytes, count, at));
}
int fsync(int d) { return strikes(SYNC, d) ? -1 : synced(REAL(fsync)(d), d); }
int fdatasync(int d) { return strikes(SYNC, d) ? -1 : synced(REAL(fdatasync)(d), d); }
int ftruncate(int d, off_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate)(d, length); }
int ftruncate64(int d, off64_t length) { return strikes(TRUNCATE, d) ? -1 : REAL(ftruncate64)(d, length); }
