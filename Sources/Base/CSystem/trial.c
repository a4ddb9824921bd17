#pragma STDC FP_CONTRACT OFF
#define _GNU_SOURCE
#include "cs_trial.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// The child runs C only: after a fork of a process with threads nothing else is safe.
static void run_child(void (*function)(const void *, int32_t, int32_t), const void *argument) {
    static const int faults[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) signal(faults[i], SIG_DFL);
    function(argument, 0, 1);
    _exit(0);
}

int cs_try_in_child(void (*function)(const void *, int32_t, int32_t), const void *argument,
                    int timeout_milliseconds) {
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) run_child(function, argument);
    int status, is_late = 0;
    for (int waited = 0;; waited++) {
        pid_t ended = waitpid(child, &status, is_late ? 0 : WNOHANG);
        if (ended == child) break;
        if (ended < 0 && errno != EINTR) return -1;
        if (waited >= timeout_milliseconds && !is_late) {
            is_late = 1;
            kill(child, SIGKILL);
        }
        if (!is_late) usleep(1000);
    }
    if (is_late) return -2;
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) == 0 ? 0 : -1;
}
