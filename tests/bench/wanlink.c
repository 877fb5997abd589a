/* A long line between two network namespaces, for kernels without netem.
 *
 *   wanlink NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B ONE_WAY_MS [MBIT_PER_S]
 *
 * Makes the device `wan0` in both and carries each packet across after ONE_WAY_MS, at most
 * MBIT_PER_S each way (0, the default: as fast as it can). Says "up" once packets can flow, and
 * ends on SIGTERM or SIGINT. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MTU = 1500, ROOM = MTU + 64, BURST = 256 };
/* Packets on their way in one direction: 50 ms of 10 Gbit/s. */
enum { QUEUE = 65536 };
static const int64_t SECOND = 1000000000;

struct packet {
  int64_t due;
  ssize_t length;
  unsigned char bytes[ROOM];
};

struct direction {
  int from, to;
  struct packet *queue;
  unsigned head, tail;
  int64_t line_free;
};

static volatile sig_atomic_t ended;

static void end(int signal) {
  (void)signal;
  ended = 1;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * SECOND + time.tv_nsec;
}

/* Enters a namespace and makes a device there. */
static int device(const char *namespace, const char *address) {
  char text[256];
  snprintf(text, sizeof text, "/var/run/netns/%s", namespace);
  int handle = open(text, O_RDONLY | O_CLOEXEC);
  if (handle < 0 || setns(handle, CLONE_NEWNET) != 0) fail(namespace);
  close(handle);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "wan0");
  if (ioctl(tun, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
  snprintf(text, sizeof text,
           "ip link set lo up && ip addr add %s/30 dev wan0 && ip link set wan0 mtu %d txqueuelen 10000 up", address,
           MTU);
  if (system(text) != 0) exit(1);
  return tun;
}

/* Takes in what was sent; each packet leaves when the line is free, and is due `delay` later. */
static void take(struct direction *way, int64_t delay, double mbit) {
  for (int taken = 0; taken < BURST && way->head - way->tail < QUEUE; taken++) {
    struct packet *packet = &way->queue[way->head % QUEUE];
    packet->length = read(way->from, packet->bytes, sizeof packet->bytes);
    if (packet->length <= 0) return;
    int64_t start = now();
    if (way->line_free > start) start = way->line_free;
    way->line_free = start + (mbit > 0 ? (int64_t)((double)packet->length * 8000 / mbit) : 0);
    packet->due = way->line_free + delay;
    way->head++;
  }
}

/* Hands over what is due. Returns when the next one is, or 0. */
static int64_t hand_over(struct direction *way) {
  while (way->tail != way->head) {
    struct packet *packet = &way->queue[way->tail % QUEUE];
    if (packet->due > now()) return packet->due;
    if (write(way->to, packet->bytes, (size_t)packet->length) < 0 && errno == EAGAIN) return packet->due;
    way->tail++;
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count < 6) {
    fprintf(stderr, "usage: wanlink NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B ONE_WAY_MS [MBIT_PER_S]\n");
    return 2;
  }
  int64_t delay = (int64_t)(atof(arguments[5]) * 1e6);
  double mbit = count > 6 ? atof(arguments[6]) : 0;
  int a = device(arguments[1], arguments[2]), b = device(arguments[3], arguments[4]);
  struct direction ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
  for (int i = 0; i < 2; i++) {
    ways[i].queue = calloc(QUEUE, sizeof(struct packet));
    if (!ways[i].queue) fail("memory");
  }
  signal(SIGTERM, end);
  signal(SIGINT, end);
  puts("up");
  fflush(stdout);
  while (!ended) {
    int64_t next = now() + SECOND;
    for (int i = 0; i < 2; i++) {
      take(&ways[i], delay, mbit);
      int64_t due = hand_over(&ways[i]);
      if (due != 0 && due < next) next = due;
    }
    int64_t wait = next - now();
    if (wait <= 0) continue;
    struct pollfd readable[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    struct timespec time = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
    ppoll(readable, 2, &time, NULL);
  }
  return 0;
}
