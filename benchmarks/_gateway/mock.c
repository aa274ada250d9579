/* mock.c: an OpenAI-compatible upstream that costs next to nothing.
 *
 *   mock PORT [EVENTS=50]
 *
 * One thread, epoll, keep-alive. POST: one chat completion, or, when the body asks for a stream, EVENTS
 * deltas, a finish, the usage and [DONE], each event sent in a packet of its own. A model whose name
 * contains "hold" streams one delta and then stays silent until the other side closes.
 * GET: the list of models. Answers are constants; nothing is checked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODEL "\"model\":\"gpt-4o-mini-2024-07-18\""
#define STAMP "\"id\":\"chatcmpl-bench0000000000000000001\",\"created\":1764000000," MODEL
#define CHUNK "{" STAMP ",\"object\":\"chat.completion.chunk\",\"system_fingerprint\":\"fp_bench\","

typedef struct {
    int fd;
    size_t used, room;
    char *bytes;
} Connection;

typedef struct {
    char *bytes;
    int length;
} Packet;

static Packet completion, models, stream_head, *events;
static int event_count;

static Packet packet(const char *text) { return (Packet){strdup(text), (int)strlen(text)}; }

static Packet sized(const char *json) {
    char text[4096];
    snprintf(text, sizeof text,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\n"
             "x-ratelimit-limit-requests: 100000\r\nx-ratelimit-remaining-requests: 99999\r\n"
             "x-ratelimit-limit-tokens: 30000000\r\nx-ratelimit-remaining-tokens: 29999000\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(json), json);
    return packet(text);
}

static void add_event(const char *data, const char *after) {
    char text[1024];
    int length = (int)strlen(data) + 8; /* "data: " and two line ends */
    snprintf(text, sizeof text, "%x\r\ndata: %s\n\n\r\n%s", length, data, after);
    events[event_count++] = packet(text);
}

static void prepare(int deltas) {
    char json[1024];
    completion = sized(
        "{" STAMP ",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"A gateway gives several providers one address, one set of keys and one bill; "
        "it waits on the path of every request, so the time that it adds is paid by every reader of "
        "every answer, and it should be too small to notice.\",\"refusal\":null},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":57,\"completion_tokens\":44,"
        "\"total_tokens\":101,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}},"
        "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\"}");
    models = sized("{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\"}]}");
    stream_head = packet("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                         "Cache-Control: no-cache\r\nx-request-id: req_bench\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n");
    events = calloc(deltas + 3, sizeof *events);
    for (int i = 0; i < deltas; i++) {
        snprintf(json, sizeof json,
                 CHUNK "\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\" word%d\"},"
                       "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
                 i ? "" : "\"role\":\"assistant\",", i);
        add_event(json, "");
    }
    add_event(CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                    "\"usage\":null}", "");
    snprintf(json, sizeof json,
             CHUNK "\"choices\":[],\"usage\":{\"prompt_tokens\":57,\"completion_tokens\":%d,"
                   "\"total_tokens\":%d}}", deltas, 57 + deltas);
    add_event(json, "");
    add_event("[DONE]", "0\r\n\r\n");
}

/* Sends block: an answer is smaller than a socket's buffer, so a reader that sleeps holds nobody up. */
static void put(int fd, Packet what) { send(fd, what.bytes, what.length, MSG_NOSIGNAL); }

static int asks(const char *body, size_t length, const char *words) {
    return memmem(body, length, words, strlen(words)) != NULL;
}

static void answer(int fd, const char *head, const char *body, size_t length) {
    if (!strncmp(head, "GET", 3)) {
        put(fd, models);
    } else if (asks(body, length, "\"stream\":true") || asks(body, length, "\"stream\": true")) {
        put(fd, stream_head);
        int count = asks(body, length, "hold\"") ? 1 : event_count;
        for (int i = 0; i < count; i++) put(fd, events[i]);
    } else {
        put(fd, completion);
    }
}

/* Length of the first request in the buffer, 0 while it is incomplete; the body starts at *body. */
static size_t request(Connection *c, char **body) {
    c->bytes[c->used] = 0;
    char *end = strstr(c->bytes, "\r\n\r\n");
    if (!end) return 0;
    *body = end + 4;
    size_t length = 0;
    for (char *line = c->bytes; line < end; line = strchr(line, '\n') + 1) {
        if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
        if (!strncasecmp(line, "transfer-encoding:", 18)) {
            char *last = memmem(*body, c->bytes + c->used - *body, "0\r\n\r\n", 5);
            if (!last) return 0;
            length = last + 5 - *body;
        }
    }
    size_t whole = (size_t)(*body - c->bytes) + length;
    return c->used < whole ? 0 : whole;
}

static int readable(Connection *c) { /* 0: the other side has gone */
    if (c->room - c->used < 16384) {
        c->room = c->room ? c->room * 2 : 32768;
        c->bytes = realloc(c->bytes, c->room + 1);
    }
    ssize_t got = recv(c->fd, c->bytes + c->used, c->room - c->used, MSG_DONTWAIT);
    if (got <= 0) return 0;
    c->used += got;
    char *body;
    for (size_t whole; (whole = request(c, &body));) {
        answer(c->fd, c->bytes, body, whole - (size_t)(body - c->bytes));
        memmove(c->bytes, c->bytes + whole, c->used -= whole);
    }
    if (!c->used && c->room > 65536) { /* thousands of held streams must not each keep a big buffer */
        free(c->bytes);
        c->bytes = NULL;
        c->room = 0;
    }
    return 1;
}

int main(int count, char **arguments) {
    if (count < 2) return fprintf(stderr, "usage: mock PORT [EVENTS]\n"), 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prepare(count > 2 ? atoi(arguments[2]) : 50);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096))
        return perror("mock"), 1;
    int poll = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = NULL}, ready[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int many = epoll_wait(poll, ready, 512, -1);
        for (int i = 0; i < many; i++) {
            Connection *c = ready[i].data.ptr;
            if (!c) {
                c = calloc(1, sizeof *c);
                c->fd = accept(listener, NULL, NULL);
                if (c->fd < 0) { free(c); continue; }
                setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                wanted.data.ptr = c;
                epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &wanted);
            } else if (!readable(c)) {
                close(c->fd);
                free(c->bytes);
                free(c);
            }
        }
    }
}
