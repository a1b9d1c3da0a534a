// `img why`: what keeps an object of the store.
#pragma once

namespace img::cli {

class CommandTable;

void addWhyCommand(CommandTable& table);

}  // namespace img::cli
