// Instructions that only touch the config: ARG, ENV, LABEL, EXPOSE, USER, VOLUME, CMD, ENTRYPOINT,
// HEALTHCHECK, SHELL, STOPSIGNAL, MAINTAINER, ONBUILD (dockerfile.md 3.3-3.4, 3.12-3.21), and their
// history texts (7.4).
#pragma once

#include <string>

#include "builder/stage.h"

namespace img::builder {

// True when the step was one of these and has been carried out.
bool applyConfigStep(const parser::Step& step, StageState& stage, const Scope& scope);

// `img commit --change` and `img import --change`: one instruction out of CMD ENTRYPOINT ENV EXPOSE
// LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR HEALTHCHECK SHELL. Throws Kind::usage for any other.
void applyChange(store::ImageConfig& config, const std::string& change);

}  // namespace img::builder
