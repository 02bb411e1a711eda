// Processes to watch.
//   herd N [SIZE [MIB]]   N that sleep, each with SIZE - 1 children that do, sharing so many MiB in two mappings a MiB;
//                         prints the ids of the N, and ends them all when its input ends
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
static int hold(size_t mib) {
    char *held = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held == MAP_FAILED) return -1;
    madvise(held, mib << 20, MADV_NOHUGEPAGE);
    for (memset(held, 1, mib << 20); mib > 0; mib--, held += 1 << 20)
        if (mprotect(held, 4096, PROT_READ)) return -1;
    return 0;
}
static void sleeper(int children) {
    for (close(1), prctl(PR_SET_PDEATHSIG, SIGKILL); children > 0; children--)
        if (fork() == 0) sleeper(0);
    for (;;) pause();
}
int main(int n, char **args) {
    int count = atoi(args[1]), size = n > 2 ? atoi(args[2]) : 1;
    if (n > 3 && hold(atoi(args[3]))) return 1;
    setpgid(0, 0);
    for (pid_t pid; count-- > 0 && (pid = fork()) >= 0; printf("%d\n", pid))
        if (pid == 0) sleeper(size - 1);
    for (fclose(stdout); getchar() != EOF;) {}
    for (signal(SIGTERM, SIG_IGN), kill(0, SIGTERM); wait(NULL) > 0;) {}
    return 0;
}
