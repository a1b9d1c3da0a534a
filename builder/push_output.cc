#include "builder/push_output.h"

#include "distribution/push.h"
#include "store/reference.h"

namespace img::builder {
namespace {

class Notices final : public distribution::PushProgress {
 public:
  explicit Notices(Progress& progress) : progress_(progress) {}
  void notice(const std::string& text) override { progress_.notice(text); }

 private:
  Progress& progress_;
};

distribution::PushForm pushForm(const Request& request, const Output& output) {
  distribution::PushForm form;
  const auto compression = mergedForm(request.output.form, output.form).compression;
  if (!compression) return form;
  form.compression = compression->kind;
  form.level = compression->level;
  form.isForced = compression->isForced;
  return form;
}

}  // namespace

ImageForm writtenForm(const Request& request, const Output& output) {
  ImageForm form = mergedForm(request.output.form, output.form);
  if (output.type == Output::Type::registry) form.compression.reset();
  return form;
}

store::Descriptor pushOutput(const store::Layout& layout, const Request& request,
                             const Output& output, const store::Descriptor& written,
                             Progress& progress) {
  Notices notices{progress};
  store::Descriptor pushed = written;
  for (const std::string& name : output.names.empty() ? request.names : output.names) {
    distribution::PushRequest push;
    push.source = written;
    push.destination = store::Reference::parse(name);
    push.access = request.registry;
    push.form = pushForm(request, output);
    try {
      pushed = distribution::pushImage(layout, push, notices);
    } catch (Error& error) {
      error.during("pushing {}", name);
      throw;
    }
    progress.notice(fmt::format("pushed {} {}", name, pushed.digest.str()));
  }
  return pushed;
}

}  // namespace img::builder
