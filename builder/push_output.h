// An output that goes to a registry: `-o type=registry`, `--push` (cli.md 9.5). The layers get
// their form while they are pushed (distribution/push.h), so that the next push finds it again.
#pragma once

#include "builder/image_form.h"
#include "builder/output.h"
#include "builder/progress.h"
#include "builder/request.h"

namespace img::builder {

// The form of documents and layers that are written for an output; of what is only pushed, layers
// keep theirs until then.
ImageForm writtenForm(const Request& request, const Output& output);

// Under every name of the output, else of the request. What the registry has then.
store::Descriptor pushOutput(const store::Layout& layout, const Request& request,
                             const Output& output, const store::Descriptor& written,
                             Progress& progress);

}  // namespace img::builder
