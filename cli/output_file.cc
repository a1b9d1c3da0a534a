#include "cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "builder/output_file.h"

namespace img::cli {

void writeOutput(Context& context, const std::string& path,
                 const std::function<void(Sink&)>& write) {
  if (path.empty() || path == "-") {
    if (context.outIsTerminal()) {
      throw Error{Kind::failed, "refusing to write an archive to a terminal"}.hint("-o FILE");
    }
    FdSink sink{Fd{sys::check([&] { return ::fcntl(context.out(), F_DUPFD_CLOEXEC, 3); },
                              "duplicate stdout")},
                "stdout"};
    return write(sink);
  }
  const InterruptionScope scope;
  builder::OutputFile file{path, context.out()};
  write(file.sink());
  file.commit();
}

}  // namespace img::cli
