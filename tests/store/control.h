/* What a library that is loaded with LD_PRELOAD shares with the test that started the process: a page of the file
 * FAULT_CONTROL. Without it the process ends at once, so that no fault can be missed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *control_page(void) {
    const char *path = getenv("FAULT_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "no FAULT_CONTROL\n");
        _exit(99);
    }
    close(file);
    return page;
}
