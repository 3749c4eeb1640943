// SPDX-License-Identifier: Apache-2.0
// timed NAME COMMAND...: runs a command and prints how long it took and a checksum (FNV-1a) of what it wrote.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char** argv)
{
    int ends[2];
    if (argc < 3 || pipe(ends) != 0) {
        return 2;
    }
    const double start = now();
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    close(ends[1]);
    uint64_t check = 0xcbf29ce484222325u;
    static unsigned char data[1 << 16];
    for (ssize_t n; (n = read(ends[0], data, sizeof data)) > 0;) {
        for (ssize_t i = 0; i < n; ++i) {
            check = (check ^ data[i]) * 0x100000001b3u;
        }
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) {
        printf("BENCH-FAILED name=%s status=%d\n", argv[1], status);
    } else {
        printf("BENCH name=%s seconds=%.6f check=%016llx\n", argv[1], now() - start, (unsigned long long)check);
    }
    return status != 0;
}
