#pragma STDC FP_CONTRACT OFF
#define _GNU_SOURCE
#include "cs_sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(cs_poll_entry) == sizeof(struct pollfd), "poll entries are pollfd");
_Static_assert(CS_READABLE == POLLIN && CS_WRITABLE == POLLOUT && CS_FAILED == POLLERR &&
                   CS_ENDED == POLLHUP,
               "poll bits");
_Static_assert(sizeof(struct sockaddr_storage) <= 128, "cs_address holds any address");

static int result(int value) { return value < 0 ? -errno : value; }

static const struct sockaddr *sockaddr(const cs_address *address) {
    return (const struct sockaddr *)(const void *)address->bytes;
}

int cs_resolve(const char *host, const char *port, int is_passive, cs_address *out, int capacity) {
    struct addrinfo hints = {0}, *found = NULL;
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = is_passive ? AI_PASSIVE : 0;
    const int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0) return code > 0 ? -code : code;
    int count = 0;
    for (const struct addrinfo *it = found; it && count < capacity; it = it->ai_next) {
        if (it->ai_addrlen > sizeof out->bytes) continue;
        out[count].byte_count = it->ai_addrlen;
        memcpy(out[count].bytes, it->ai_addr, it->ai_addrlen);
        count++;
    }
    freeaddrinfo(found);
    return count;
}

const char *cs_resolve_text(int code) { return gai_strerror(code); }

int cs_address_text(const cs_address *address, char *host, size_t host_capacity) {
    char port[8];
    if (getnameinfo(sockaddr(address), address->byte_count, host, (socklen_t)host_capacity, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return -EINVAL;
    }
    return atoi(port);
}

int cs_socket(const cs_address *address) {
    const int family = sockaddr(address)->sa_family;
    return result(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

int cs_socket_pair(int out[2]) {
    return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out));
}

int cs_bind_and_listen(int socket, const cs_address *address, int backlog) {
    const int on = 1;
    if (setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return -errno;
    if (sockaddr(address)->sa_family == AF_INET6) {
        // "::" serves IPv4 too, whatever the machine's default is.
        const int off = 0;
        if (setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) return -errno;
    }
    if (bind(socket, sockaddr(address), address->byte_count) != 0) return -errno;
    return result(listen(socket, backlog));
}

int cs_connect(int socket, const cs_address *address) {
    // An interrupted connect goes on by itself: poll tells its end, as for EINPROGRESS.
    const int code = result(connect(socket, sockaddr(address), address->byte_count));
    return code == -EINTR ? -EINPROGRESS : code;
}

int cs_socket_error(int socket) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
}

int cs_accept(int listener) {
    int code;
    do code = result(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
    while (code == -EINTR);
    return code;
}

int cs_local_address(int socket, cs_address *out) {
    socklen_t size = sizeof out->bytes;
    const int code = result(getsockname(socket, (struct sockaddr *)(void *)out->bytes, &size));
    out->byte_count = size;
    return code;
}

int cs_peer_address(int socket, cs_address *out) {
    socklen_t size = sizeof out->bytes;
    const int code = result(getpeername(socket, (struct sockaddr *)(void *)out->bytes, &size));
    out->byte_count = size;
    return code;
}

int cs_set_no_delay(int socket) {
    const int on = 1;
    return result(setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

int cs_set_congestion(int socket, const char *name) {
    const socklen_t size = (socklen_t)strlen(name);
    return result(setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name, size));
}

int cs_congestion(int socket, char *out, size_t capacity) {
    socklen_t size = (socklen_t)capacity;
    return result(getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, out, &size));
}

int cs_set_buffers(int socket, int send_byte_count, int receive_byte_count) {
    const int sent = setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_byte_count, sizeof(int));
    if (sent != 0) return -errno;
    return result(setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &receive_byte_count, sizeof(int)));
}

int64_t cs_send(int socket, const void *first, size_t first_count, const void *second,
                size_t second_count) {
    struct iovec parts[2] = {{(void *)first, first_count}, {(void *)second, second_count}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = second_count > 0 ? 2 : 1;
    ssize_t count;
    do count = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int64_t cs_receive(int socket, void *first, size_t first_count, void *second,
                   size_t second_count) {
    struct iovec parts[2] = {{first, first_count}, {second, second_count}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = second_count > 0 ? 2 : 1;
    ssize_t count;
    do count = recvmsg(socket, &message, MSG_DONTWAIT);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int cs_shutdown(int socket) { return result(shutdown(socket, SHUT_RDWR)); }

int cs_shutdown_sending(int socket) { return result(shutdown(socket, SHUT_WR)); }

int cs_event(void) { return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void cs_event_set(int event) { (void)eventfd_write(event, 1); }

void cs_event_clear(int event) {
    eventfd_t value;
    (void)eventfd_read(event, &value);
}

int cs_poll(cs_poll_entry *entries, int count, int64_t timeout_nanoseconds) {
    const struct timespec limit = {timeout_nanoseconds / 1000000000,
                                   timeout_nanoseconds % 1000000000};
    const struct timespec *timeout = timeout_nanoseconds < 0 ? NULL : &limit;
    const int ready = ppoll((struct pollfd *)(void *)entries, (nfds_t)count, timeout, NULL);
    if (ready < 0) return errno == EINTR ? 0 : -errno;
    return ready;
}
