// The builder's tasks are everybody's; Events (builder/events.h) drives them.
#pragma once

#include "base/task.h"

namespace img::builder {

using img::Task;

}  // namespace img::builder
