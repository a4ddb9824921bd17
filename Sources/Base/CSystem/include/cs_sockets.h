// Socket calls that Swift's Glibc module does not import, or that need a vector of two buffers.
// Every function returns a negative errno value on failure and retries an interrupted call.
#ifndef CS_SOCKETS_H
#define CS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

// Room for any address that getaddrinfo returns.
typedef struct {
    uint32_t byte_count;
    uint8_t bytes[128];
} cs_address;

// Looks up host and port (numbers or names) for stream sockets, at most capacity addresses.
// Returns how many were found, or the negative EAI_ code; is_passive asks for addresses to bind.
int cs_resolve(const char *host, const char *port, int is_passive, cs_address *out, int capacity);

// Text for the code that cs_resolve returned.
const char *cs_resolve_text(int code);

// The numeric host and the port of an address. Returns the port; host needs 64 bytes.
int cs_address_text(const cs_address *address, char *host, size_t host_capacity);

// A stream socket for the family of the address: close-on-exec, non-blocking.
int cs_socket(const cs_address *address);

// Two connected stream sockets, close-on-exec, non-blocking (in-memory links for tests).
int cs_socket_pair(int out[2]);

// Binds (address reusable after a restart) and listens.
int cs_bind_and_listen(int socket, const cs_address *address, int backlog);

// Starts to connect: 0 when done, -EINPROGRESS when poll will tell.
int cs_connect(int socket, const cs_address *address);

// The pending error of a socket, as an errno value (0: none).
int cs_socket_error(int socket);

// Accepts a connection: close-on-exec, non-blocking.
int cs_accept(int listener);

// The addresses of both ends.
int cs_local_address(int socket, cs_address *out);
int cs_peer_address(int socket, cs_address *out);

// TCP options. Names of congestion controls end with a zero byte and fit 16 bytes.
int cs_set_no_delay(int socket);
int cs_set_congestion(int socket, const char *name);
int cs_congestion(int socket, char *out, size_t capacity);

// Buffer sizes as asked for; the kernel doubles them for its own needs.
int cs_set_buffers(int socket, int send_byte_count, int receive_byte_count);

// Sends the first buffer, then the second (may be empty). Never blocks, never raises SIGPIPE.
int64_t cs_send(int socket, const void *first, size_t first_count, const void *second,
                size_t second_count);

// Receives into the first buffer, then the second (may be empty). Never blocks. 0: the peer ended.
int64_t cs_receive(int socket, void *first, size_t first_count, void *second,
                   size_t second_count);

// Ends both directions, or only sending.
int cs_shutdown(int socket);
int cs_shutdown_sending(int socket);

// A counter that poll can wait for (close-on-exec, non-blocking).
int cs_event(void);

// Makes the event readable, and unreadable again.
void cs_event_set(int event);
void cs_event_clear(int event);

// A line of poll: events are asked for, revents is the answer (CS_*).
typedef struct {
    int32_t descriptor;
    int16_t events;
    int16_t revents;
} cs_poll_entry;

enum { CS_READABLE = 0x001, CS_WRITABLE = 0x004, CS_FAILED = 0x008, CS_ENDED = 0x010,
       CS_HALF_CLOSED = 0x2000 };

// Waits until an entry is ready or the time is over (negative: no limit). Returns how many are.
int cs_poll(cs_poll_entry *entries, int count, int64_t timeout_nanoseconds);

#endif
