/* Ends the process that it is loaded into, with LD_PRELOAD, by SIGSYS as soon as it asks the kernel to do anything to another
 * process: seccomp(2). */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Signals, tracing, memory and files of others, and how they are scheduled. */
static const int forbidden[] = {
    SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal,
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_process_madvise, SYS_migrate_pages, SYS_move_pages,
    SYS_pidfd_getfd, SYS_setpgid, SYS_setpriority, SYS_ioprio_set, SYS_sched_setaffinity, SYS_sched_setattr,
    SYS_sched_setparam, SYS_sched_setscheduler,
};
enum { COUNT = sizeof forbidden / sizeof *forbidden };

static void add(struct sock_fprog *program, unsigned short code, unsigned char yes, unsigned char no, unsigned value) {
    program->filter[program->len++] = (struct sock_filter){code, yes, no, value};
}

__attribute__((constructor)) static void begin(void) {
    struct sock_filter steps[2 * COUNT + 8];
    struct sock_fprog program = {0, steps};
    add(&program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    for (int n = 0; n < COUNT; n++) {
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, forbidden[n]);
        add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    }
    /* Limits: its own are its own. */
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, 0, 3, SYS_prlimit64);
    add(&program, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args[0]));
    add(&program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0);
    add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    add(&program, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(99);
}
