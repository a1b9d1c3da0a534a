/* transfer: the floor of moving an image: what cannot be left out between a file and the store.
 *   transfer pull [-z gzip|zstd|none] FILE DEST   read, hash the compressed bytes, decompress | hash the plain ones, write them once
 *   transfer load FILE DEST                       read and write | hash
 *   transfer save FILE DEST                       read and write
 *   transfer push [-z gzip|zstd] [-t THREADS] FILE    read, hash the plain bytes, compress in pieces of 1 MiB on THREADS threads, hash
 * pull and load with -x: DEST becomes a folder with the files of the tar, and the tar itself is not written.
 * "|" is between two threads. One layer is one FILE, from the page cache; no network, no JSON, no names, no fsync. gzip is
 * ISA-L's inflate and libdeflate's deflate (level 6), zstd is libzstd's (level 3). */
#include "extract.h"
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <zstd.h>

enum { SLOT = 1 << 20, SLOTS = 8 };
static char *ring[SLOTS];
static size_t fill[SLOTS];
static unsigned head, tail;
static int ended, out = -1, writes, unpacks;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;

static EVP_MD_CTX *sha(void) {
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  EVP_DigestInit_ex(c, EVP_sha256(), NULL);
  return c;
}
static void put(const char *p, size_t n) {
  if (unpacks) {
    extract(p, n);
    return;
  }
  while (n) {
    ssize_t w = write(out, p, n);
    if (w < 0) die("write");
    p += w, n -= w;
  }
}
static char *slot(void) {
  pthread_mutex_lock(&mu);
  while (head - tail == SLOTS) pthread_cond_wait(&cv, &mu);
  pthread_mutex_unlock(&mu);
  return ring[head % SLOTS];
}
static void give(size_t n) {
  pthread_mutex_lock(&mu);
  fill[head++ % SLOTS] = n;
  if (!n) ended = 1;
  pthread_cond_signal(&cv);
  pthread_mutex_unlock(&mu);
}
/* The other half: hashes, and for a pull writes. */
static void *taker(void *x) {
  EVP_MD_CTX *c = sha();
  (void)x;
  for (;;) {
    pthread_mutex_lock(&mu);
    while (head == tail) pthread_cond_wait(&cv, &mu);
    pthread_mutex_unlock(&mu);
    size_t n = fill[tail % SLOTS];
    if (!n) return NULL;
    EVP_DigestUpdate(c, ring[tail % SLOTS], n);
    if (writes) put(ring[tail % SLOTS], n);
    pthread_mutex_lock(&mu);
    tail++;
    pthread_cond_signal(&cv);
    pthread_mutex_unlock(&mu);
  }
}
static size_t in(int fd, char *p, size_t n) {
  ssize_t r = read(fd, p, n);
  if (r < 0) die("read");
  return r;
}
static void pull_gzip(int fd) {
  static char buf[256 << 10];
  static struct inflate_state z;
  EVP_MD_CTX *c = sha();
  isal_inflate_init(&z);
  z.crc_flag = ISAL_GZIP;
  for (int more = 1; more;) {
    char *s = slot();
    z.next_out = (void *)s, z.avail_out = SLOT;
    while (z.avail_out) {
      if (!z.avail_in) {
        size_t n = in(fd, buf, sizeof buf);
        if (n) EVP_DigestUpdate(c, buf, n);
        z.next_in = (void *)buf, z.avail_in = n;
        if (!n && z.block_state == ISAL_BLOCK_FINISH) {
          more = 0;
          break;
        }
      }
      if (z.block_state == ISAL_BLOCK_FINISH) { /* another member of the stream */
        isal_inflate_reset(&z);
        z.crc_flag = ISAL_GZIP;
      }
      uint32_t before = z.avail_out, given = z.avail_in;
      if (isal_inflate(&z) != ISAL_DECOMP_OK) die("inflate");
      if (before == z.avail_out && given == z.avail_in && !given) die("truncated");
    }
    if (SLOT - z.avail_out) give(SLOT - z.avail_out);
  }
}
static void pull_zstd(int fd) {
  static char buf[256 << 10];
  EVP_MD_CTX *c = sha();
  ZSTD_DCtx *d = ZSTD_createDCtx();
  ZSTD_inBuffer i = {buf, 0, 0};
  for (int more = 1; more;) {
    ZSTD_outBuffer o = {slot(), SLOT, 0};
    while (o.pos < o.size) {
      if (i.pos == i.size) {
        i.size = in(fd, buf, sizeof buf), i.pos = 0;
        if (!i.size) {
          more = 0;
          break;
        }
        EVP_DigestUpdate(c, buf, i.size);
      }
      if (ZSTD_isError(ZSTD_decompressStream(d, &o, &i))) die("zstd");
    }
    if (o.pos) give(o.pos);
  }
}
/* The other half only hashes, unless it unpacks. */
static void copy(int fd, int hashes) {
  for (;;) {
    char *s = hashes ? slot() : ring[0];
    size_t n = in(fd, s, SLOT);
    if (!n) return;
    if (!writes) put(s, n);
    if (hashes) give(n);
  }
}

/* push: piece K of the file is compressed by whoever comes first. */
static int zstd, source;
static uint64_t size, next;
static void *packer(void *x) {
  char *plain = malloc(SLOT), *packed = malloc(2 * SLOT);
  struct libdeflate_compressor *g = libdeflate_alloc_compressor(6);
  ZSTD_CCtx *z = ZSTD_createCCtx();
  EVP_MD_CTX *c = sha();
  (void)x;
  for (;;) {
    uint64_t at = __atomic_fetch_add(&next, SLOT, __ATOMIC_RELAXED);
    if (at >= size) return NULL;
    ssize_t n = pread(source, plain, SLOT, at);
    if (n < 0) die("pread");
    size_t m = zstd ? ZSTD_compressCCtx(z, packed, 2 * SLOT, plain, n, 3) : libdeflate_gzip_compress(g, plain, n, packed, 2 * SLOT);
    EVP_DigestUpdate(c, plain, n);
    EVP_DigestUpdate(c, packed, m);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 64;
  const char *what = argv[1], *format = "none";
  int o, threads = 2;
  argc--, argv++;
  while ((o = getopt(argc, argv, "z:t:x")) != -1) switch (o) {
      case 'z': format = optarg; break;
      case 't': threads = atoi(optarg); break;
      case 'x': unpacks = 1; break;
      default: return 64;
    }
  source = open(argv[optind], O_RDONLY);
  if (source < 0) die(argv[optind]);
  pthread_t th[64];
  if (!strcmp(what, "push")) {
    struct stat st;
    fstat(source, &st);
    size = st.st_size, zstd = !strcmp(format, "zstd");
    for (int i = 0; i < threads && i < 64; i++) pthread_create(&th[i], NULL, packer, NULL);
    for (int i = 0; i < threads && i < 64; i++) pthread_join(th[i], NULL);
    return 0;
  }
  for (int i = 0; i < SLOTS; i++) ring[i] = malloc(SLOT);
  if (unpacks && mkdir(argv[optind + 1], 0755)) die(argv[optind + 1]);
  out = unpacks ? ex.dest = open(argv[optind + 1], O_RDONLY | O_DIRECTORY) : open(argv[optind + 1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (out < 0) die(argv[optind + 1]);
  if (!strcmp(what, "save")) {
    copy(source, 0);
    return 0;
  }
  int plain = !strcmp(what, "load") || !strcmp(format, "none");
  writes = !plain || unpacks;
  pthread_create(&th[0], NULL, taker, NULL);
  if (plain)
    copy(source, 1);
  else if (!strcmp(format, "gzip"))
    pull_gzip(source);
  else
    pull_zstd(source);
  slot(), give(0);
  pthread_join(th[0], NULL);
  return 0;
}
