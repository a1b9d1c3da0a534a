// From the syntax of one instruction to its typed body: arity, flags, value checks that need no
// expansion.
#pragma once

#include "parser/dockerfile.h"
#include "parser/fault.h"

namespace img::parser {

// FROM is no Body; see typeFrom.
Body typeBody(const Instruction& syntax, const SourceText& source);

// FROM [--platform=P] NAME [AS STAGE]
Stage typeFrom(const Instruction& syntax, const SourceText& source);

}  // namespace img::parser
