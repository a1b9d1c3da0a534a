/* For the program that is measured under valgrind, which refuses system calls that it does not know: openat2(2) up to 3.19.
 * The linker sends all calls of syscall(2) here (--wrap). Only this program, which no one installs, opens files without the
 * guards of openat2; that costs it as many instructions and system calls. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...) {
  long word[6];
  va_list words;
  va_start(words, number);
  for (int i = 0; i < 6; i++) word[i] = va_arg(words, long);
  va_end(words);
  if (number == SYS_openat2) {
    const struct open_how* how = (const struct open_how*)word[2];
    return openat((int)word[0], (const char*)word[1], (int)how->flags, (mode_t)how->mode);
  }
  return __real_syscall(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}
