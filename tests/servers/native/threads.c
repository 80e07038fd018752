/* `threads COUNT`: that many threads that wait, and one, `spinner`, that spins in spin_here. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile unsigned long turns;

static void *wait_here(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

__attribute__((noinline)) void spin_here(void)
{
    for (;;)
        turns++;
}

static void *spinner(void *nothing)
{
    pthread_setname_np(pthread_self(), "spinner");
    spin_here();
    return nothing;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    pthread_attr_t small;
    pthread_t thread;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < count; i++)
        if (pthread_create(&thread, &small, wait_here, NULL) != 0) {
            fprintf(stderr, "only %d threads\n", i);
            return 1;
        }
    pthread_create(&thread, &small, spinner, NULL);
    return pthread_join(thread, NULL);
}
