// The subset of Go's text/template that `--format` takes (cli.md section 6), run over a JSON value:
// fields, variables, literals, if/with/range, pipes and functions. A template is read once and run
// for each object.
//
// Differences from Go that follow from JSON: an unknown field is an error that lists the known
// ones; a missing key given to `index` yields "" where the object holds only strings, else nil.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/json.h"

namespace img::cli {

namespace tmpl {
struct Body;
}

class Template {
 public:
  // Throws Kind::failed: "template: ..." with the column of the mistake.
  explicit Template(std::string_view source);
  // Throws Kind::failed for an unknown field or a wrong type.
  [[nodiscard]] std::string run(const Json& data) const;

 private:
  std::shared_ptr<const tmpl::Body> body_;
};

}  // namespace img::cli
