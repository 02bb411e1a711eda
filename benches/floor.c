// The least that can be done. At each line of the input it does one round, and prints its CPU time in nanoseconds.
//   floor pread PID…   stat and statm of each, kept open, read
//   floor open PID…    stat of each opened, read, closed
//   floor scan         the same of every process
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static char line[16], text[1536], path[300];
static int kept[32768][2];
static int file_of(const char *pid, const char *name) {
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    return open(path, O_RDONLY);
}
static int got(int file) { return file >= 0 && pread(file, text, sizeof text, 0) > 0 ? file : (exit(1), -1); }
static void scan(void) {
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        int file = isdigit(entry->d_name[0]) ? file_of(entry->d_name, "stat") : -1;
        if (file < 0 || read(file, text, sizeof text) < 0 || close(file)) continue;
    }
    closedir(proc);
}
int main(int n, char **args) {
    int keep = args[1][0] == 'p';
    for (int i = 2; keep && i < n; i++) kept[i][0] = file_of(args[i], "stat"), kept[i][1] = file_of(args[i], "statm");
    for (struct timespec a, b; fgets(line, sizeof line, stdin); fflush(stdout)) {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        for (int i = 2; i < n; i++) keep ? got(kept[i][0]) + got(kept[i][1]) : close(got(file_of(args[i], "stat")));
        if (args[1][0] == 's') scan();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + b.tv_nsec - a.tv_nsec);
    }
}
