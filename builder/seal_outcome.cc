#include "builder/seal_outcome.h"

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace img::builder {

std::string SealOutcome::encode() const {
  Json json{{"digest", tar.descriptor.digest.str()},
            {"size", tar.descriptor.size},
            {"mediaType", tar.descriptor.mediaType},
            {"entries", tar.stats.entries},
            {"bytes", tar.stats.bytes},
            {"moved", isMoved}};
  if (leak) json["secret"] = Json{{"place", leak->place}, {"id", leak->id}};
  return dumpJson(json);
}

SealOutcome SealOutcome::decode(const std::string& text) {
  const Json json = parseJson(text, "result of sealing");
  SealOutcome outcome;
  store::Descriptor& blob = outcome.tar.descriptor;
  blob.digest = Digest::parse(json.at("digest").get<std::string>());
  blob.size = json.at("size");
  blob.mediaType = json.at("mediaType");
  outcome.tar.stats.entries = json.at("entries");
  outcome.tar.stats.bytes = json.at("bytes");
  outcome.isMoved = json.at("moved");
  if (json.contains("secret")) {
    const Json& secret = json.at("secret");
    outcome.leak = SecretHit{secret.at("place"), secret.at("id")};
  }
  return outcome;
}

void SealOutcome::describe(Layer& layer) const {
  layer.descriptor = tar.descriptor;
  layer.diffId = tar.descriptor.digest;
  layer.bytes = tar.stats.bytes;
}

LeakWatch::LeakWatch(const StepOptions& options)
    : guard_(guardOf(options)),
      files_(guard_),
      isRefused_(options.secretGuard == StepOptions::Guard::error) {}

void LeakWatch::note(std::optional<SecretHit> hit) {
  if (hit && !hit_) hit_ = std::move(hit);
  // The blob must not come to be.
  if (hit_ && isRefused_) throw leakError(*hit_);
}

void LeakWatch::join(store::SealOptions& options) {
  if (guard_.isEmpty()) return;
  options.inspect = [this](const std::string& path, std::span<const std::byte> bytes) {
    files_.add(path, bytes);
    note(files_.hit());
  };
  options.inspectEntry = [this](const store::TarEntry& entry) { note(guard_.findInEntry(entry)); };
}

}  // namespace img::builder
