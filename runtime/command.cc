#include "runtime/command.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/architecture.h"

namespace img::runtime {
namespace {

constexpr int kNotExecutable = 126;
constexpr int kNotFound = 127;

std::string_view valueOf(const std::vector<std::string>& env, std::string_view key) {
  for (const std::string& entry : env) {
    const std::string_view text = entry;
    if (text.size() > key.size() && text.substr(0, key.size()) == key && text[key.size()] == '=') {
      return text.substr(key.size() + 1);
    }
  }
  return {};
}

enum class Found { nothing, refused, folder, program };

Found look(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return errno == EACCES ? Found::refused : Found::nothing;
  }
  if (S_ISDIR(info.st_mode)) return Found::folder;
  if (!S_ISREG(info.st_mode) || ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) != 0) {
    return Found::refused;
  }
  return Found::program;
}

// The interpreter a program asks for: after "#!", or PT_INTERP of an ELF file of this machine's
// word size. Empty: none, or the file cannot be read (which execve does not need).
std::string interpreterOf(const std::string& path) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  char head[4096];
  if (!file) return {};
  const ssize_t size = ::pread(file.get(), head, sizeof head, 0);
  if (size < 4) return {};
  const std::string_view bytes{head, static_cast<size_t>(size)};
  if (bytes.starts_with("#!")) return scriptInterpreter(bytes);
  // Whoever runs the programs of another machine has their loaders as well.
  if (elfArchitecture(bytes) != hostArchitecture()) return {};
  Elf64_Ehdr elf;
  if (bytes.size() < sizeof elf || bytes.substr(0, 4) != ELFMAG) return {};
  std::memcpy(&elf, head, sizeof elf);
  if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_phentsize != sizeof(Elf64_Phdr)) return {};
  for (size_t i = 0; i < elf.e_phnum; ++i) {
    Elf64_Phdr part;
    const size_t at = elf.e_phoff + i * sizeof part;
    if (at > bytes.size() || bytes.size() - at < sizeof part) return {};
    std::memcpy(&part, head + at, sizeof part);
    if (part.p_type != PT_INTERP) continue;
    if (part.p_offset > bytes.size() || bytes.size() - part.p_offset < part.p_filesz) return {};
    return std::string{bytes.substr(part.p_offset, part.p_filesz).data()};
  }
  return {};
}

// Looked at before the attempt: after it this program is gone from the process.
void checkInterpreter(const std::string& path) {
  const std::string interpreter = interpreterOf(path);
  if (interpreter.empty() || interpreter[0] != '/') return;
  const Found found = look(interpreter);
  if (found == Found::program) return;
  if (found == Found::nothing) {
    throw Error::make(Kind::notFound,
                      "cannot run {}: its interpreter {} does not exist in the container",
                      text::quote(path), text::quote(interpreter))
        .why("execve: No such file or directory (ENOENT)")
        .exitCode(kNotFound);
  }
  throw Error::make(Kind::denied, "cannot run {}: its interpreter {} is not executable",
                    text::quote(path), text::quote(interpreter))
      .exitCode(kNotExecutable);
}

Error unusable(Found found, const std::string& path) {
  if (found == Found::folder) {
    return Error::make(Kind::denied, "cannot run {}: it is a folder", text::quote(path))
        .exitCode(kNotExecutable);
  }
  return Error::make(Kind::denied, "cannot run {}: permission denied", text::quote(path))
      .why("the file is not executable for this user, or a folder above it cannot be entered")
      .exitCode(kNotExecutable);
}

}  // namespace

std::string findCommand(const std::string& name, const std::vector<std::string>& env) {
  if (name.find('/') != std::string::npos) {
    const Found found = look(name);
    if (found == Found::nothing) {
      throw Error::make(Kind::notFound, "{} not found in the image", text::quote(name))
          .exitCode(kNotFound);
    }
    if (found != Found::program) throw unusable(found, name);
    checkInterpreter(name);
    return name;
  }
  std::string_view path = valueOf(env, "PATH");
  if (path.empty()) path = kDefaultPath;
  std::optional<Error> refusal;
  for (const std::string& folder : text::split(path, ':')) {
    // As execvp(3): an empty part is the working folder.
    std::string candidate = folder.empty() ? "." : folder;
    candidate += '/';
    candidate += name;
    const Found found = name.empty() ? Found::nothing : look(candidate);
    if (found == Found::program) {
      checkInterpreter(candidate);
      return candidate;
    }
    if (found != Found::nothing && !refusal) refusal = unusable(found, candidate);
  }
  if (refusal) throw *refusal;
  throw Error::make(Kind::notFound, "{} not found in the image (looked in {})", text::quote(name),
                    path)
      .exitCode(kNotFound);
}

Error explainExecFailure(int errnum, const std::string& path) {
  Error error = Error::fromErrno(errnum, "execute " + text::quote(path));
  error.exitCode(errnum == ENOENT ? kNotFound : kNotExecutable);
  if (errnum == ENOEXEC) {
    error.why("the file is neither a program of this architecture nor a script with a #! line");
  }
  return error;
}

}  // namespace img::runtime
