/* load.c: a load generator for one HTTP/1.1 request, over kept connections.
 *
 *   load PORT REQUEST_FILE CONNECTIONS [-s SECONDS] [-n COUNT] [-r PER_SECOND] [-t TOKEN] [-i]
 *
 * Sends the bytes of REQUEST_FILE over and over, each connection its next one when the last is answered,
 * until SECONDS (3) are over or COUNT answers are there. -r: paced instead, and a latency then counts from
 * the moment the request was due, so that a stall is not hidden by the requests it delayed. TOKEN: the
 * bytes of a body that mark its first token. -i: send one request on each connection (-r of them per
 * second), print a line when every first token is there, and hold the open streams until standard input
 * closes. Prints one JSON object: answered (status 200), refused (other statuses below 500), errors,
 * the last status that was not 200, seconds, latencies and first tokens in microseconds, events and bytes
 * of the bodies.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 60000000000LL /* nanoseconds that the last answers may take after the end */

enum { SIZE, SIZE_REST, DATA, DATA_END, TRAILER }; /* where a chunked body is */

typedef struct {
    int fd, in_body, is_chunked, keep, status, state, is_busy, line;
    long left;
    long long due, first; /* nanoseconds: when the request was due, when the first token came */
    int used, matched, event;
    char head[8192];
} Connection;

typedef struct {
    int *values; /* microseconds */
    long count, room;
} Series;

static struct sockaddr_in address;
static char *request, *token = "\"content\":";
static long request_length;
static int poll_fd, token_length;
static Series latencies, firsts;
static long answered, refused, errors, started;
static int last_failure; /* the last status that was not 200; 0 for a connection that broke */
static long long events, bytes;

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void keep(Series *s, long long nanoseconds) {
    if (s->count == s->room) s->values = realloc(s->values, (s->room = s->room * 2 + 4096) * sizeof(int));
    s->values[s->count++] = (int)(nanoseconds / 1000);
}

static int by_size(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int rank(Series *s, double share) {
    return s->count ? s->values[(long)(share * (s->count - 1))] : 0;
}

static void open_connection(Connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&address, sizeof address)) perror("connect"), exit(1);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &wanted);
}

static void reopen(Connection *c) {
    close(c->fd);
    open_connection(c);
}

/* Sends block: when the gateway does not read a big body at once, this thread waits for it. */
static void fire(Connection *c, long long due) {
    c->used = c->in_body = c->is_chunked = c->status = c->matched = c->event = 0;
    c->keep = c->is_busy = 1;
    c->left = -1;
    c->first = 0;
    c->due = due;
    started++;
    for (long sent = 0; sent < request_length;) {
        ssize_t n = send(c->fd, request + sent, request_length - sent, MSG_NOSIGNAL);
        if (n < 0) { reopen(c); sent = 0; errors++; continue; }
        sent += n;
    }
}

static void scan(Connection *c, const char *p, long n) {
    static const char mark[] = "data:";
    bytes += n;
    for (long i = 0; i < n; i++) {
        c->event = p[i] == mark[c->event] ? c->event + 1 : p[i] == mark[0];
        if (c->event == 5) events++, c->event = 0;
        if (c->first) continue;
        c->matched = p[i] == token[c->matched] ? c->matched + 1 : p[i] == token[0];
        if (c->matched == token_length) c->first = now(), c->matched = 0;
    }
}

static void header_line(Connection *c, const char *line) {
    if (!strncasecmp(line, "content-length:", 15)) c->left = atol(line + 15);
    if (!strncasecmp(line, "transfer-encoding: chunked", 26)) c->is_chunked = 1;
    if (!strncasecmp(line, "connection: close", 17)) c->keep = 0;
}

/* Takes bytes of the head; returns how many were taken, or -1 when the head is too long. */
static long head(Connection *c, const char *p, long n) {
    long room = (long)sizeof c->head - 1 - c->used, take = n < room ? n : room, before = c->used;
    if (!take) return -1;
    memcpy(c->head + c->used, p, take);
    c->head[c->used += take] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return take;
    end[2] = 0;
    c->status = atoi(c->head + 9);
    for (char *line = strchr(c->head, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
        header_line(c, line + 1);
    c->in_body = 1;
    c->state = SIZE;
    if (c->is_chunked) c->left = 0;
    return end + 4 - c->head - before;
}

/* Takes bytes of a chunked body, one state at a time. Returns 1 at its end. */
static int chunked(Connection *c, const char *p, long n) {
    while (n > 0) {
        if (c->state == DATA) {
            long take = n < c->left ? n : c->left;
            scan(c, p, take);
            p += take, n -= take, c->left -= take;
            if (!c->left) c->state = DATA_END;
            continue;
        }
        char x = *p++;
        n--;
        if (c->state == SIZE && x != '\r' && x != '\n') {
            int digit = x <= '9' ? x - '0' : (x | 32) - 'a' + 10;
            if (digit < 0 || digit > 15) c->state = SIZE_REST;
            else c->left = c->left * 16 + digit;
        } else if (x == '\n') {
            if (c->state == TRAILER) { if (!c->line) return 1; c->line = 0; }
            else if (c->state == DATA_END) c->state = SIZE, c->left = 0;
            else c->state = c->left ? DATA : TRAILER, c->line = 0;
        } else if (c->state == TRAILER && x != '\r') c->line = 1;
    }
    return 0;
}

static int feed(Connection *c, const char *p, long n) { /* 1: the answer is complete, -1: broken */
    if (!c->in_body) {
        long taken = head(c, p, n);
        if (taken < 0) return -1;
        p += taken, n -= taken;
        if (!c->in_body) return 0;
    }
    if (c->is_chunked) return chunked(c, p, n);
    scan(c, p, n);
    return c->left >= 0 && (c->left -= n) <= 0;
}

static void finish(Connection *c, int is_broken) {
    c->is_busy = 0;
    if (c->status != 200 || is_broken) last_failure = is_broken ? 0 : c->status;
    if (is_broken || c->status >= 500 || !c->status) errors++;
    else if (c->status != 200) refused++;
    else {
        answered++;
        keep(&latencies, now() - c->due);
        if (c->first) keep(&firsts, c->first - c->due);
    }
    if (is_broken || !c->keep) reopen(c);
}

static void receive(Connection *c) {
    static char buffer[262144];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        int state = feed(c, buffer, got);
        if (state) finish(c, state < 0);
    } else if (c->is_busy) finish(c, !(c->in_body && !c->is_chunked && c->left < 0));
    else reopen(c);
}

static void wait_some(double seconds) {
    struct epoll_event ready[512];
    struct timespec limit = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    int many = epoll_pwait2(poll_fd, ready, 512, &limit, NULL);
    for (int i = 0; i < many; i++) receive(ready[i].data.ptr);
}

static void run(Connection *all, int count, double seconds, long total, double rate) {
    long long start = now(), end = start + (long long)(seconds * 1e9);
    long long step = rate > 0 ? (long long)(1e9 / rate) : 0, next = start;
    for (;;) {
        int busy = 0, over = now() >= end || (total && started >= total);
        for (int i = 0; i < count; i++) {
            Connection *c = &all[i];
            if (!c->is_busy && !over && (!step || next <= now())) {
                fire(c, step ? next : now());
                next += step;
                over = total && started >= total;
            }
            busy += c->is_busy;
        }
        if (over && !busy) return;
        double pause = step && !over && busy < count ? (next - now()) / 1e9 : 1;
        wait_some(pause < 0 ? 0 : pause);
        if (now() > end + PATIENCE) { errors += busy; return; }
    }
}

static void hold(Connection *all, int count, double rate) {
    long long start = now();
    for (int i = 0; i < count; i++) {
        open_connection(&all[i]);
        fire(&all[i], now());
        while (now() < start + (long long)(i * 1e9 / rate)) wait_some(0.001);
    }
    for (long long end = now() + 30000000000LL; now() < end;) {
        wait_some(0.05);
        long ready = 0;
        for (int i = 0; i < count; i++) ready += all[i].first != 0;
        if (ready + refused + errors >= count) break;
    }
    long held = 0;
    for (int i = 0; i < count; i++) held += all[i].first != 0 && all[i].is_busy;
    printf("{\"held\": %ld, \"refused\": %ld, \"errors\": %ld}\n", held, refused, errors);
    fflush(stdout);
    while (getchar() != EOF) {}
}

static void read_request(const char *path) {
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info)) perror(path), exit(1);
    request = malloc(request_length = info.st_size);
    if (fread(request, 1, request_length, file) != (size_t)request_length) exit(1);
    fclose(file);
}

int main(int count, char **arguments) {
    double seconds = 3, rate = 0;
    long total = 0;
    int is_idle = 0, option;
    while ((option = getopt(count, arguments, "s:n:r:t:i")) != -1) {
        if (option == 's') seconds = atof(optarg);
        else if (option == 'n') total = atol(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 't') token = optarg;
        else if (option == 'i') is_idle = 1;
        else return 2;
    }
    if (count - optind != 3) return fprintf(stderr, "usage: load [options] PORT REQUEST_FILE CONNECTIONS\n"), 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    token_length = (int)strlen(token);
    address = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons(atoi(arguments[optind])),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    read_request(arguments[optind + 1]);
    int connections = atoi(arguments[optind + 2]);
    Connection *all = calloc(connections, sizeof *all);
    poll_fd = epoll_create1(0);
    if (is_idle) return hold(all, connections, rate ? rate : 1000), 0;
    for (int i = 0; i < connections; i++) open_connection(&all[i]);
    long long start = now();
    run(all, connections, seconds, total, rate);
    double took = (now() - start) / 1e9;
    qsort(latencies.values, latencies.count, sizeof(int), by_size);
    qsort(firsts.values, firsts.count, sizeof(int), by_size);
    printf("{\"answered\": %ld, \"refused\": %ld, \"errors\": %ld, \"seconds\": %.6f, \"p50_us\": %d, "
           "\"p99_us\": %d, \"last_failure\": %d, \"first_p50_us\": %d, \"first_p99_us\": %d, \"events\": %lld, \"bytes\": %lld}\n",
           answered, refused, errors, took, rank(&latencies, .5), rank(&latencies, .99), last_failure,
           rank(&firsts, .5), rank(&firsts, .99), events, bytes);
    return 0;
}
