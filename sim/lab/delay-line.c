// Links in user space: of each, two TUN devices in two network namespaces, and between them, each
// way, a FIFO queue of so many bytes, a rate, a delay and random loss. It is there because not every
// kernel has netem.
//
//   delay-line (NAMESPACE_A DEVICE_A NAMESPACE_B DEVICE_B MBIT DELAY_US QUEUE_BYTES LOSS_PPM SEED)+
//
// A packet that arrives is lost by chance, or dropped if the queue is full, or else leaves the
// queue when the packets before it have been sent at the rate, and arrives one delay later. The
// times are computed, not waited for: a late wake-up makes one packet late and no later one. Bytes
// are those of the IP packet. Says "ready" on standard output; ends on SIGTERM or with standard
// input, and says its counts. A line "LINK LOSS_PPM DELAY_US" on standard input changes the link of
// that number, counted from 0, from then on.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

// Packets on their way, one direction: 600 KB of queue and 25 ms at 100 Mbit/s are 22 000 of the
// smallest. A power of two.
#define SLOTS 32768
#define PACKET_MAX 2048
#define READS_MAX 64
#define LINKS_MAX 64
#define WORDS_OF_LINK 9
// One turn in so many nanoseconds at most: packets that come meanwhile share it. With a turn for
// each packet, a bulk over four links takes most of a processor from those that are measured.
#define TURN_NS 200000

struct packet {
  int64_t leaves, arrives;
  uint32_t length;
  uint8_t bytes[PACKET_MAX];
};

struct direction {
  int from, to;
  struct packet *ring;
  // Packets [head, tail) are on their way; those from `queued` on have not left the queue.
  uint64_t head, queued, tail;
  int64_t queued_bytes, line_free;
  uint64_t random, passed, lost, dropped;
  struct link *link;
};

struct link {
  double nanoseconds_per_byte;
  int64_t delay, queue_bytes;
  uint64_t loss_ppm;
  struct direction both[2];
};

static struct link links[LINKS_MAX];
static int link_count;
static volatile sig_atomic_t is_ended;

static void on_signal(int number) {
  (void)number;
  is_ended = 1;
}

static void fail(const char *what) {
  fprintf(stderr, "delay-line: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// xorshift64*: the same seed, the same losses for the same packets.
static uint64_t next_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 2685821657736338717ull;
}

static int open_tun(const char *name_space, const char *device) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", name_space);
  int inside = open(path, O_RDONLY | O_CLOEXEC);
  if (inside < 0) fail(path);
  if (setns(inside, CLONE_NEWNET) != 0) fail("setns");
  close(inside);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
  if (ioctl(tun, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
  return tun;
}

// What has left the queue by now no longer fills it.
static void drain_queue(struct direction *d, int64_t at) {
  while (d->queued < d->tail && d->ring[d->queued % SLOTS].leaves <= at)
    d->queued_bytes -= d->ring[d->queued++ % SLOTS].length;
}

static void deliver(struct direction *d, int64_t at) {
  drain_queue(d, at);
  while (d->head < d->tail && d->ring[d->head % SLOTS].arrives <= at) {
    struct packet *p = &d->ring[d->head++ % SLOTS];
    if (write(d->to, p->bytes, p->length) == (ssize_t)p->length) d->passed++;
    else d->dropped++;
  }
}

static void take(struct direction *d) {
  const struct link *link = d->link;
  // Nothing is under way: the first slots again, so that little memory is ever touched.
  if (d->head == d->tail) d->head = d->queued = d->tail = 0;
  for (int reads = 0; reads < READS_MAX; reads++) {
    // One slot is always free to read into.
    struct packet *p = &d->ring[d->tail % SLOTS];
    ssize_t length = read(d->from, p->bytes, PACKET_MAX);
    if (length <= 0) return;
    int64_t at = now();
    drain_queue(d, at);
    if ((next_random(&d->random) >> 33) % 1000000 < link->loss_ppm) {
      d->lost++;
      continue;
    }
    if (d->queued_bytes + length > link->queue_bytes || d->tail - d->head >= SLOTS - 1) {
      d->dropped++;
      continue;
    }
    if (d->line_free < at) d->line_free = at;
    d->line_free += (int64_t)(length * link->nanoseconds_per_byte);
    p->length = (uint32_t)length;
    p->leaves = d->line_free;
    p->arrives = d->line_free + link->delay;
    d->queued_bytes += length;
    d->tail++;
  }
}

static void set_timer(int timer) {
  int64_t next = 0;
  for (int i = 0; i < link_count * 2; i++) {
    const struct direction *d = &links[i / 2].both[i % 2];
    if (d->head == d->tail) continue;
    int64_t arrives = d->ring[d->head % SLOTS].arrives;
    if (next == 0 || arrives < next) next = arrives;
  }
  struct itimerspec at = {.it_value = {next / 1000000000, next % 1000000000}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

// Packets under way keep their old time; one that would overtake them waits for them.
static void change(const char *line) {
  int number;
  long long loss, delay;
  if (sscanf(line, "%d %lld %lld", &number, &loss, &delay) != 3) return;
  if (number < 0 || number >= link_count) return;
  links[number].loss_ppm = (uint64_t)loss;
  links[number].delay = delay * 1000;
}

// Who started this is gone when standard input ends.
static void read_changes(void) {
  static char text[512];
  static size_t used;
  ssize_t count = read(STDIN_FILENO, text + used, sizeof text - 1 - used);
  if (count == 0) is_ended = 1;
  if (count <= 0) return;
  used += (size_t)count;
  text[used] = 0;
  char *from = text;
  for (char *end; (end = strchr(from, '\n')) != NULL; from = end + 1) {
    *end = 0;
    change(from);
  }
  used = strlen(from);
  memmove(text, from, used);
  if (used == sizeof text - 1) used = 0;
}

// Not before `turn`, a time of now().
static void rest_until(int64_t turn) {
  struct timespec at = {.tv_sec = turn / 1000000000, .tv_nsec = turn % 1000000000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void watch(int epoll, int file, uint32_t number) {
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) != 0 && errno != EPERM) fail("epoll_ctl");
}

static void run(void) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  uint32_t directions = (uint32_t)link_count * 2;
  for (uint32_t i = 0; i < directions; i++) watch(epoll, links[i / 2].both[i % 2].from, i);
  watch(epoll, timer, directions);
  watch(epoll, STDIN_FILENO, directions + 1);
  while (!is_ended) {
    struct epoll_event events[16];
    int count = epoll_wait(epoll, events, 16, -1);
    for (int i = 0; i < count; i++) {
      uint32_t number = events[i].data.u32;
      uint64_t expirations;
      if (number < directions) take(&links[number / 2].both[number % 2]);
      else if (number > directions) read_changes();
      else if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        fail("timer");
    }
    int64_t at = now();
    for (uint32_t i = 0; i < directions; i++) deliver(&links[i / 2].both[i % 2], at);
    set_timer(timer);
    rest_until(at + TURN_NS);
  }
}

static void open_link(struct link *link, char **words) {
  link->nanoseconds_per_byte = 8000.0 / atof(words[4]);
  link->delay = atoll(words[5]) * 1000;
  link->queue_bytes = atoll(words[6]);
  link->loss_ppm = (uint64_t)atoll(words[7]);
  uint64_t seed = (uint64_t)atoll(words[8]) * 0x9e3779b97f4a7c15ull | 1;
  int a = open_tun(words[0], words[1]);
  int b = open_tun(words[2], words[3]);
  link->both[0] = (struct direction){.from = a, .to = b, .random = seed, .link = link};
  link->both[1] = (struct direction){.from = b, .to = a, .random = ~seed, .link = link};
  for (int i = 0; i < 2; i++) {
    link->both[i].ring = calloc(SLOTS, sizeof(struct packet));
    if (link->both[i].ring == NULL) fail("memory");
  }
}

int main(int count, char **words) {
  link_count = (count - 1) / WORDS_OF_LINK;
  if (link_count < 1 || link_count > LINKS_MAX || (count - 1) % WORDS_OF_LINK != 0) {
    fprintf(stderr, "delay-line: nine arguments for each of 1 to %d links, see its source\n",
            LINKS_MAX);
    return 2;
  }
  for (int i = 0; i < link_count; i++) open_link(&links[i], &words[1 + i * WORDS_OF_LINK]);
  // Punctual beside busy programs: it takes a few per cent of one processor.
  prctl(PR_SET_TIMERSLACK, 1);
  struct sched_param priority = {.sched_priority = 10};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  struct sigaction end = {.sa_handler = on_signal};
  sigaction(SIGTERM, &end, NULL);
  // The terminal's Ctrl-C goes to everybody; whoever started this ends it.
  signal(SIGINT, SIG_IGN);
  printf("{\"ready\":true}\n");
  fflush(stdout);
  run();
  for (int i = 0; i < link_count * 2; i++) {
    const struct direction *d = &links[i / 2].both[i % 2];
    printf("{\"passed\":%lu,\"lost\":%lu,\"dropped\":%lu}\n", d->passed, d->lost, d->dropped);
  }
  return 0;
}
