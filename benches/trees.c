// Trees to watch, and the least that finding them costs.
//   trees spawn N SIZE   N processes that sleep, each with SIZE - 1 children that do; prints the parents' ids, and ends them
//                        all when its input ends
//   trees scan           at each line of the input, stat of every process opened, read, closed; prints its CPU time, ns
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char line[16], text[1536], path[300];
static void sleeper(int children) {
    for (close(1), prctl(PR_SET_PDEATHSIG, SIGKILL); children-- > 0;)
        if (fork() == 0) sleeper(0);
    for (;;) pause();
}
static int spawn(int count, int size) {
    setpgid(0, 0);
    for (pid_t pid; count-- > 0 && (pid = fork()) >= 0; printf("%d\n", pid))
        if (pid == 0) sleeper(size - 1);
    for (fclose(stdout); fgets(line, sizeof line, stdin);) {}
    for (signal(SIGTERM, SIG_IGN), kill(0, SIGTERM); wait(NULL) > 0;) {}
    return 0;
}
int main(int n, char **args) {
    if (n == 4) return spawn(atoi(args[2]), atoi(args[3]));
    for (struct timespec a, b; fgets(line, sizeof line, stdin); fflush(stdout)) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
            if (!isdigit(entry->d_name[0])) continue;
            snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
            int file = open(path, O_RDONLY);
            if (file < 0 || read(file, text, sizeof text) < 0 || close(file)) continue;
        }
        closedir(proc);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
    }
}
