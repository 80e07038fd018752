/* Preloaded, it keeps to loopback a server that would listen on every address: 4.9 has no setting for that, and the
   replication port of 5.x heeds none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
    static int (*next)(int, const struct sockaddr *, socklen_t);
    union {
        struct sockaddr any;
        struct sockaddr_in four;
    } mine;

    if (!next)
        next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
    if (size == sizeof mine.four && address->sa_family == AF_INET) {
        memcpy(&mine.four, address, size);
        if (mine.four.sin_addr.s_addr == htonl(INADDR_ANY))
            mine.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return next(fd, &mine.any, size);
    }
    return next(fd, address, size);
}
