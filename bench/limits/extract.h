/* extract: a tar that arrives in pieces becomes files in a folder. What layers hold: files, folders, links, devices, long
 * names by pax records or GNU entries; no whiteouts, no xattrs, no sync. The names are trusted: it is a limit, no tool. */
#ifndef EXTRACT_H
#define EXTRACT_H
#include "lim.h"
#include <sys/sysmacros.h>

enum extract_part { HEADER, DATA, PADDING, LONG };
static struct {
  enum extract_part part;
  char block[512], text[16384], path[8192], target[8192];
  size_t have, text_size;
  uint64_t left, padding;
  char kind;
  int dest, file;
  struct timespec when[2];
} ex = {.file = -1};

static uint64_t tar_number(const char *field, int width) {
  uint64_t value = 0;
  int i = 0;
  if (field[0] & 0x80) { /* base 256, GNU's way to have more than 8 GiB */
    for (i = 1; i < width; i++) value = value << 8 | (unsigned char)field[i];
    return value;
  }
  for (; i < width && field[i]; i++)
    if (field[i] != ' ') value = value << 3 | (field[i] - '0');
  return value;
}
/* "LENGTH KEY=VALUE\n" records: of them only the two names. */
static void take_pax(void) {
  for (char *record = ex.text, *end = ex.text + ex.text_size; record < end;) {
    size_t length = strtoul(record, NULL, 10);
    char *key = memchr(record, ' ', end - record), *value = key ? memchr(key, '=', end - key) : NULL;
    if (!length || !value) die("pax record");
    size_t size = record + length - 1 - (value + 1);
    char *to = !strncmp(key + 1, "path=", 5) ? ex.path : !strncmp(key + 1, "linkpath=", 9) ? ex.target : NULL;
    if (to) memcpy(to, value + 1, size), to[size] = 0;
    record += length;
  }
}
static void end_entry(void) {
  if (ex.kind == 'x') take_pax();
  if (ex.kind == 'L') memcpy(ex.path, ex.text, ex.text_size), ex.path[ex.text_size] = 0;
  if (ex.kind == 'K') memcpy(ex.target, ex.text, ex.text_size), ex.target[ex.text_size] = 0;
  if (ex.file >= 0) {
    futimens(ex.file, ex.when);
    close(ex.file), ex.file = -1;
  }
  if (!strchr("xgLK", ex.kind)) ex.path[0] = ex.target[0] = 0;
}
static void begin_node(const char *path, const char *target, mode_t mode) {
  const char *h = ex.block;
  uid_t uid = tar_number(h + 108, 8);
  gid_t gid = tar_number(h + 116, 8);
  switch (ex.kind) {
    case '5':
      if (mkdirat(ex.dest, path, 0755) && errno != EEXIST) die(path);
      break;
    case '2':
      if (symlinkat(target, ex.dest, path)) die(path);
      break;
    case '1':
      if (linkat(ex.dest, target, ex.dest, path, 0)) die(path);
      return;
    case '3':
    case '4':
    case '6': {
      mode_t type = ex.kind == '3' ? S_IFCHR : ex.kind == '4' ? S_IFBLK : S_IFIFO;
      if (mknodat(ex.dest, path, type | mode, makedev(tar_number(h + 329, 8), tar_number(h + 337, 8)))) die(path);
      break;
    }
    default:
      ex.file = openat(ex.dest, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      if (ex.file < 0) die(path);
      if (fchown(ex.file, uid, gid) || fchmod(ex.file, mode)) die(path);
      return;
  }
  if ((uid || gid) && fchownat(ex.dest, path, uid, gid, AT_SYMLINK_NOFOLLOW)) die(path);
  if (ex.kind != '2' && fchmodat(ex.dest, path, mode, 0)) die(path);
  utimensat(ex.dest, path, ex.when, AT_SYMLINK_NOFOLLOW);
}
static void begin_entry(void) {
  char path[8192], target[8192];
  const char *h = ex.block;
  ex.kind = h[156] ? h[156] : '0';
  ex.left = strchr("0xgLK", ex.kind) ? tar_number(h + 124, 12) : 0;
  ex.padding = (512 - ex.left % 512) % 512;
  if (strchr("xgLK", ex.kind)) {
    if (ex.left >= sizeof ex.text) die("long names");
    ex.text_size = 0, ex.part = LONG;
  } else {
    if (ex.path[0])
      strcpy(path, ex.path);
    else if (h[345] && !memcmp(h + 257, "ustar", 6))
      snprintf(path, sizeof path, "%.155s/%.100s", h + 345, h);
    else
      snprintf(path, sizeof path, "%.100s", h);
    if (ex.target[0])
      strcpy(target, ex.target);
    else
      snprintf(target, sizeof target, "%.100s", h + 157);
    ex.when[0].tv_sec = ex.when[1].tv_sec = tar_number(h + 136, 12);
    begin_node(path, target, tar_number(h + 100, 8) & 07777);
    ex.part = DATA;
  }
  if (!ex.left) end_entry(), ex.part = ex.padding ? PADDING : HEADER;
}
static void extract(const char *p, size_t n) {
  while (n) {
    uint64_t want = ex.part == HEADER ? 512 - ex.have : ex.part == PADDING ? ex.padding : ex.left;
    size_t take = want < n ? want : n;
    switch (ex.part) {
      case HEADER:
        memcpy(ex.block + ex.have, p, take);
        if ((ex.have += take) == 512) {
          ex.have = 0;
          if (ex.block[0]) begin_entry(); /* else the zeros of the end */
        }
        break;
      case PADDING:
        if (!(ex.padding -= take)) ex.part = HEADER;
        break;
      case LONG:
        memcpy(ex.text + ex.text_size, p, take), ex.text_size += take;
        ex.left -= take;
        break;
      case DATA:
        if (write(ex.file, p, take) != (ssize_t)take) die("write");
        ex.left -= take;
        break;
    }
    if ((ex.part == DATA || ex.part == LONG) && !ex.left) end_entry(), ex.part = ex.padding ? PADDING : HEADER;
    p += take, n -= take;
  }
}
#endif
