#include "tests/runtime/sandbox.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/security.h"

namespace img::runtime::test {
namespace {

constexpr const char* kApplets[] = {
    "sh",   "cat",  "ls",     "id",       "echo",  "true",     "sleep", "stat",
    "env",  "kill", "mount",  "umount",   "mknod", "hostname", "ps",    "wc",
    "grep", "ip",   "pwd",    "readlink", "touch", "mkdir",    "chmod", "ln",
    "tty",  "stty", "ulimit", "setsid",   "dd",    "head",     "test",  "false"};

void copyFile(const std::string& from, int dir, const std::string& to) {
  const std::string bytes = fs::readFile(AT_FDCWD, from);
  const Fd file = sys::openat(dir, to, O_WRONLY | O_CREAT | O_EXCL, 0755);
  writeAll(file.get(), bytes, to);
}

}  // namespace

void Sandbox::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "containers need root here";
  if (::access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs the package busybox-static";
  for (const char* folder : {"bin", "etc", "proc", "sys", "dev", "tmp", "root"}) {
    sys::mkdirat(root(), folder, 0755);
  }
  // mkdtemp's 0700 would keep every user but root out of "/".
  sys::fchmod(root(), 0755);
  sys::fchmodat(root(), "tmp", 01777);
  copyFile("/bin/busybox", root(), "bin/busybox");
  for (const char* applet : kApplets)
    sys::symlinkat("busybox", root(), std::string{"bin/"} + applet);
  write("etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n"
        "app:x:1000:1000:App:/home/app:/bin/sh\n"
        "wrapped:x:4294967296:0::/:/bin/sh\n");
  write("etc/group", "root:x:0:\napp:x:1000:\nstaff:x:50:app,root\nwheel:x:10:app\n");
}

Spec Sandbox::spec(std::vector<std::string> argv) const {
  Spec spec;
  spec.argv = std::move(argv);
  spec.env = {"PATH=/bin", "MARK=1"};
  spec.hostname = "box";
  spec.capabilities = kDefaultCapabilities;
  spec.mountRootfs = [path = root_.path()] {
    Fd tree = sys::openTree(AT_FDCWD, path, OPEN_TREE_CLONE);
    sys::mountSetattr(tree.get(), "", 0, 0, 0, MS_PRIVATE);
    return tree;
  };
  return spec;
}

Result Sandbox::run(Spec& spec) const {
  Pipe out = Pipe::make();
  Pipe err = Pipe::make();
  spec.standardOutput = out.write.get();
  spec.standardError = err.write.get();
  Container container = start(spec);
  out.write.reset();
  err.write.reset();
  Result result;
  // Small outputs only, so one after the other cannot block.
  result.out = readAll(out.read.get(), "output");
  result.err = readAll(err.read.get(), "errors");
  result.code = container.wait().code;
  return result;
}

Result Sandbox::run(const std::string& script) const {
  Spec one = shell(script);
  return run(one);
}

Error Sandbox::failure(Spec& spec) const {
  try {
    Container container = start(spec);
    container.kill(9);
    container.wait();
  } catch (const Error& error) {
    return error;
  }
  return Error{Kind::internal, "it started"};
}

void Sandbox::write(const std::string& path, const std::string& content, mode_t mode) const {
  const Fd file = sys::openat(root(), path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  writeAll(file.get(), content, path);
  sys::fchmod(file.get(), mode);
}

std::string Sandbox::read(const std::string& path) const {
  return fs::tryReadFile(root(), path).value_or("(missing)");
}

std::string field(const std::string& text, const std::string& key) {
  for (const std::string& line : text::split(text, '\n')) {
    if (line.compare(0, key.size(), key) == 0)
      return std::string{text::trim(line.substr(key.size()))};
  }
  return "(no " + key + ")";
}

}  // namespace img::runtime::test
