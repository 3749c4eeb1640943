// SPDX-License-Identifier: Apache-2.0
#include "hw/9p/fsdev.h"

#include <charconv>
#include <future>

#include "util/thread.h"

namespace emu::hw {
namespace {

Result<p9::SecurityModel> security_model(Options& options) {
  const auto at = EMU_TRY(
      options.take_enum("security_model", {"none", "passthrough", "mapped-xattr", "mapped", "mapped-file"}));
  if (!at) {
    return error(Error("'security_model=' is missing")
                     .with_hint("none, passthrough and mapped-xattr say whose the guest's files are on the host"));
  }
  switch (*at) {
    case 0: return p9::SecurityModel::None;
    case 1: return p9::SecurityModel::Passthrough;
    case 4:
      return error(Error("security_model=mapped-file is not supported")
                       .with_hint("use mapped-xattr, which keeps owners and modes in extended attributes"));
    default: return p9::SecurityModel::Mapped;
  }
}

Result<void> take_mode(Options& options, const char* key, p9::SecurityModel security, mode_t& mode) {
  const auto text = options.take(key);
  if (!text) return {};
  if (security != p9::SecurityModel::Mapped) {
    return error("{}={}: only files of security_model=mapped-xattr have modes of the host's choice", key, *text);
  }
  unsigned value = 0;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), value, 8);
  if (failed != std::errc() || end != text->data() + text->size() || value > 0777) {
    return error("{}={}: it is octal, 0 to 0777", key, *text);
  }
  mode = value;
  return {};
}

}  // namespace

Result<p9::ExportOptions> parse_fsdev(Options& options) {
  const std::string driver = EMU_TRY(options.take_required("fsdriver"));
  if (driver == "synth" || driver == "proxy") {
    return error(Error(fmt::format("'{}' is not supported", driver)).with_hint("there is local"));
  }
  if (driver != "local") return error(Error(fmt::format("no driver '{}'", driver)).with_hint("there is local"));
  p9::ExportOptions out;
  out.path = EMU_TRY(options.take_required("path"));
  out.security = EMU_TRY(security_model(options));
  // "readonly" alone is how it is mostly written.
  out.read_only = EMU_TRY(options.take_bool_or("readonly", false));
  if (const auto write_out = options.take("writeout")) {
    if (*write_out != "immediate") return error("writeout={}: it can only be immediate", *write_out);
    out.write_out = true;
  }
  if (const auto at = EMU_TRY(options.take_enum("multidevs", {"warn", "remap", "forbid"}))) {
    out.multi_devs = p9::MultiDevs(*at);
  }
  EMU_TRY(take_mode(options, "fmode", out.security, out.file_mode));
  EMU_TRY(take_mode(options, "dmode", out.security, out.dir_mode));
  for (const auto& [key, value] : options.pairs()) {
    if (key.starts_with("throttling.")) return error("{}: shared folders cannot be throttled", key);
  }
  EMU_TRY(options.finish());
  return out;
}

Result<void> add_fsdev(qom::ObjectTree& tree, const std::string& id, p9::ExportOptions options) {
  auto object = tree.make<Fsdev>();
  object->hold(EMU_TRY(p9::Export::open(std::move(options))));
  EMU_TRY(tree.container(Fsdev::kContainer).add_child(id, std::move(object)));
  return {};
}

void Fsdev::start() {
  if (loop_ != nullptr) return;
  pool_ = std::make_unique<ThreadPool>("9p-worker", kThreads);
  loop_ = std::make_unique<EventLoop>();
  std::promise<void> started;
  thread_ = start_thread("9p", [this, &started] {
    loop_->run_once(/*wait=*/false);  // from here on the loop is this thread's
    started.set_value();
    loop_->run();
  });
  started.get_future().wait();
}

Fsdev::~Fsdev() {
  if (loop_ == nullptr) return;
  loop_->post([this] { loop_->quit(); });  // behind what devices that left have posted
  thread_.join();
  pool_.reset();
}

void register_fsdev(qom::TypeRegistry& registry) { registry.add<Fsdev>("fsdev"); }

}  // namespace emu::hw
