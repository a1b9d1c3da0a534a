#include "cli/build_context.h"

#include <array>

#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/remote_url.h"

namespace img::cli {
namespace {

constexpr size_t kMaxDockerfile = size_t{4} << 20;  // security.md L1
constexpr size_t kMaxIgnoreFile = size_t{4} << 20;
constexpr std::array<const char*, 3> kDockerfileNames{"Dockerfile", "dockerfile", "Containerfile"};

bool isRemote(const std::string& place) {
  return builder::classifyContext(place) != builder::SourceKind::local;
}

// Tells Dockerfiles apart in the records of the cache.
std::string absolutePath(const std::string& path) {
  if (path.empty()) return {};
  const Fd file = sys::openat(AT_FDCWD, path, O_PATH);
  return sys::readlinkat(AT_FDCWD, sys::procPath(file.get()));
}

// The one that a build without -f takes; its ignore file may lie beside it.
std::string defaultDockerfile(const std::string& context) {
  for (const char* name : kDockerfileNames) {
    if (sys::tryFstatat(AT_FDCWD, context + "/" + name)) return context + "/" + name;
  }
  return {};
}

builder::IgnoreFile ignoreFileFor(const BuildPlaces& places, const std::string& dockerfile) {
  if (places.ignoreFile.empty())
    return builder::findIgnoreFile(dockerfile, places.context == "-" ? "" : places.context);
  auto content = builder::tryReadUserFile(places.ignoreFile, kMaxIgnoreFile);
  if (!content) {
    throw Error::make(Kind::notFound, "no ignore file at {}", text::quote(places.ignoreFile));
  }
  return {places.ignoreFile, std::move(*content)};
}

DockerfileText inFolder(const std::string& folder, const std::string& shownFolder) {
  for (const char* name : kDockerfileNames) {
    if (auto content = builder::tryReadContextFile(folder, name, kMaxDockerfile))
      return {folder + "/" + name, name, std::move(*content)};
  }
  throw Error::make(Kind::notFound, "no Dockerfile in {}", text::quote(shownFolder))
      .hint("name one with -f FILE");
}

std::string readText(const std::string& folder, const std::string& name) {
  auto content = builder::tryReadContextFile(folder, name, kMaxDockerfile);
  if (!content) throw Error::make(Kind::notFound, "no Dockerfile at {}", text::quote(name));
  return std::move(*content);
}

// -f with a URL.
DockerfileText fetchDockerfile(Context& context, const std::string& url,
                               const builder::RemoteAccess& access) {
  const builder::RemoteTree tree = builder::openRemote(context.store(), url, access, {});
  const std::string shown = builder::withoutCredentials(url);
  if (!tree.isFile) throw Error::make(Kind::failed, "{} is no Dockerfile", text::quote(shown));
  return {"", shown, readText(tree.path, builder::kRemoteFile)};
}

class RemoteContext {
 public:
  RemoteContext(Context& context, const BuildPlaces& places, builder::Request& request)
      : context_(context),
        places_(places),
        request_(request),
        shown_(places.context == "-" ? "standard input"
                                     : builder::withoutCredentials(places.context)) {}

  builder::RemoteTree open() {
    builder::RemoteTree tree = places_.context == "-" ? openStdin() : openUrl();
    request_.isContextTemporary = true;
    request_.contextTime = tree.time;
    const DockerfileText dockerfile = chooseDockerfile(tree);
    const bool isEmpty = tree.isFile && places_.context == "-";
    request_.contextDir = isEmpty ? "" : tree.path;
    request_.dockerfileName = dockerfile.shown;
    request_.dockerfileText = dockerfile.text;
    request_.dockerfilePath = dockerfile.path;
    return tree;
  }

 private:
  builder::RemoteTree openStdin() {
    FdSource input{Fd{sys::check([] { return ::fcntl(0, F_DUPFD_CLOEXEC, 3); }, "read stdin")},
                   "standard input"};
    return builder::openStream(context_.store(), input, "standard input", kMaxDockerfile);
  }

  builder::RemoteTree openUrl() {
    builder::RemoteOptions options;
    for (const auto& [name, value] : request_.buildArgs) {
      if (name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR")
        options.keepGitDir = value == "1" || value == "true";
    }
    return builder::openRemote(context_.store(), places_.context,
                               builder::remoteAccess(request_.step), options);
  }

  // The path that is remembered names what does not change with the folder.
  DockerfileText chooseDockerfile(const builder::RemoteTree& tree) {
    const std::string& file = places_.file;
    if (tree.isFile && file.empty())
      return {shown_, "Dockerfile", readText(tree.path, builder::kRemoteFile)};
    if (tree.isFile && places_.context == "-") {
      throw Error{Kind::usage, "-f and a Dockerfile on stdin cannot be used together"}.hint(
          "with a tar on stdin, -f names a file in it; with -f - the context is a folder");
    }
    if (file == "-" || isRemote(file) || (file.starts_with('/') && places_.context != "-")) {
      BuildPlaces outside = places_;
      outside.context = ".";
      return isRemote(file) ? fetchDockerfile(context_, file, builder::remoteAccess(request_.step))
                            : findDockerfile(outside);
    }
    DockerfileText found;
    if (file.empty()) {
      found = inFolder(tree.path, shown_);
    } else {
      found = {"", file, readText(tree.path, file)};
    }
    found.path = shown_ + "/" + found.shown;
    return found;
  }

  Context& context_;
  const BuildPlaces& places_;
  builder::Request& request_;
  std::string shown_;
};

}  // namespace

DockerfileText findDockerfile(const BuildPlaces& places) {
  if (places.file == "-" || places.context == "-") {
    if (places.file == "-" && places.context == "-")
      throw Error{Kind::usage, "the Dockerfile and the context cannot both come from stdin"};
    return {"", "Dockerfile", readAll(0, "standard input", kMaxDockerfile)};
  }
  if (places.file.empty()) return inFolder(places.context, places.context);
  auto content = builder::tryReadUserFile(places.file, kMaxDockerfile);
  if (!content) throw Error::make(Kind::notFound, "no Dockerfile at {}", text::quote(places.file));
  return {places.file, places.file, std::move(*content)};
}

builder::IgnoreFile findIgnoreFile(const BuildPlaces& places) {
  return ignoreFileFor(places,
                       places.file.empty() ? defaultDockerfile(places.context) : places.file);
}

std::unique_ptr<builder::RemoteTree> openBuildContext(Context& context, const BuildPlaces& places,
                                                      builder::Request& request) {
  if (places.context == "-" && places.file == "-")
    throw Error{Kind::usage, "the Dockerfile and the context cannot both come from stdin"};
  if (places.context == "-" || isRemote(places.context))
    return std::make_unique<builder::RemoteTree>(RemoteContext{context, places, request}.open());
  const DockerfileText dockerfile =
      isRemote(places.file)
          ? fetchDockerfile(context, places.file, builder::remoteAccess(request.step))
          : findDockerfile(places);
  const builder::IgnoreFile ignore = ignoreFileFor(places, dockerfile.path);
  request.contextDir = places.context;
  request.ignoreName = ignore.name;
  request.ignoreText = ignore.text;
  request.dockerfileName = dockerfile.shown;
  request.dockerfilePath = absolutePath(dockerfile.path);
  request.dockerfileText = dockerfile.text;
  return nullptr;
}

}  // namespace img::cli
