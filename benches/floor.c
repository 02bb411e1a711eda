// The least that can be done: what the budgets are ratios to. A round is all PIDs once, at each line of the input.
//   floor spawn N [MIB]     N processes that sleep, sharing so many MiB in two mappings each; prints their ids, and ends
//                           them when its input ends
//   floor pread|open PID…   stat and statm of each kept and read, or stat opened, read, closed; prints its CPU time, ns
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char line[16], text[1536], paths[32768][32];
static int kept[32768][2];
static long need(long good) { return good > 0 ? good : (exit(1), 0); }
static void hold(size_t mib) {
    char *held = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(held != MAP_FAILED);
    madvise(held, mib << 20, MADV_NOHUGEPAGE);
    for (memset(held, 1, mib << 20); mib-- > 0; held += 1 << 20) need(!mprotect(held, 4096, PROT_READ));
}
static int spawn(int count) {
    setpgid(0, 0);
    for (pid_t pid; count-- > 0 && (pid = fork()) >= 0; printf("%d\n", pid))
        if (pid == 0) for (close(1), prctl(PR_SET_PDEATHSIG, SIGKILL);;) pause();
    for (fclose(stdout); fgets(line, sizeof line, stdin);) {}
    for (signal(SIGTERM, SIG_IGN), kill(0, SIGTERM); wait(NULL) > 0;) {}
    return 0;
}
int main(int n, char **args) {
    if (n > 3 && args[1][0] == 's') hold(atoi(args[3]));
    if (args[1][0] == 's') return spawn(atoi(args[2]));
    int keep = args[1][0] == 'p';
    for (int i = 2; i < n; i++) for (int j = 0; j < 2; j++) {
        snprintf(paths[i], sizeof *paths, j ? "/proc/%s/stat" : "/proc/%s/statm", args[i]);
        kept[i][j] = keep ? need(open(paths[i], O_RDONLY)) : 0;
    }
    for (struct timespec a, b; fgets(line, sizeof line, stdin); fflush(stdout)) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        for (int i = 2; i < n; i++) {
            int file = keep ? kept[i][1] : open(paths[i], O_RDONLY);
            need(pread(file, text, sizeof text, 0));
            if (keep ? need(pread(kept[i][0], text, sizeof text, 0)) : close(file)) {}
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
    }
}
