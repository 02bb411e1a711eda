/* Shifts the wall clock of one process: CLOCK_REALTIME of the C library, by what stands in the file FAULT_CONTROL. Loaded
 * with LD_PRELOAD. Counts how often a shifted time was given. */
#define _GNU_SOURCE
#include "../store/control.h"
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static struct {
    long long seconds, struck;
} *volatile control;

__attribute__((constructor)) static void begin(void) { control = control_page(); }

static long long shift(void) {
    long long seconds = control ? control->seconds : 0;
    if (seconds) __sync_add_and_fetch(&control->struck, 1);
    return seconds;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = REAL(clock_gettime)(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int failed = REAL(gettimeofday)(at, zone);
    if (!failed) at->tv_sec += shift();
    return failed;
}
time_t time(time_t *at) {
    time_t now = REAL(time)(NULL) + shift();
    if (at) *at = now;
    return now;
}
