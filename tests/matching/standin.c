/* A program that takes the shape of another: it does what the words of STANDIN say, one after the other, says "ready",
 * and waits until its standard input ends or somebody kills it.
 *
 *   name=NAME     calls itself so, as a thread may
 *   title=TEXT    writes over its command line, as process.title does
 *   setsid        begins a session
 *   line          waits for a line of its standard input
 *   exec=FILE     becomes this program, under this name
 *   start=FILE,A  starts this program with argv A A2 A3, of which the words are between commas; it reads STANDIN_CHILD
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void overwrite(int argc, char **argv, const char *text) {
    size_t room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
    memset(argv[0], 0, room);
    strncpy(argv[0], text, room - 1);
}

static void start(char *words) {
    char *argv[16] = {0};
    char *file = strsep(&words, ",");
    for (int n = 0; n < 15 && words; n++)
        argv[n] = strsep(&words, ",");
    int ready[2];
    if (pipe(ready) || fork() == 0) {
        const char *child = getenv("STANDIN_CHILD");
        dup2(ready[1], 1);
        close(ready[0]);
        close(ready[1]);
        setenv("STANDIN", child ? child : "", 1);
        unsetenv("STANDIN_CHILD");
        execv(file, argv);
        _exit(127);
    }
    close(ready[1]);
    char byte;
    while (read(ready[0], &byte, 1) == 1 && byte != '\n') {
    }
    close(ready[0]);
}

int main(int argc, char **argv) {
    char *orders = getenv("STANDIN");
    orders = orders ? strdup(orders) : NULL;
    char byte;
    for (char *order; (order = strsep(&orders, " "));) {
        char *value = strchr(order, '=');
        if (value)
            *value++ = 0;
        if (!strcmp(order, "name"))
            prctl(PR_SET_NAME, value);
        else if (!strcmp(order, "title"))
            overwrite(argc, argv, value);
        else if (!strcmp(order, "setsid"))
            setsid();
        else if (!strcmp(order, "line"))
            while (read(0, &byte, 1) == 1 && byte != '\n') {
            }
        else if (!strcmp(order, "exec")) {
            setenv("STANDIN", "", 1);
            execl(value, value, (char *)NULL);
            return 127;
        } else if (!strcmp(order, "start"))
            start(value);
    }
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while (read(0, &byte, 1) == 1) {
    }
    return 0;
}
