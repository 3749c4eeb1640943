// SPDX-License-Identifier: Apache-2.0
// Format `qcow2` in the table of drivers.
#include "block/qcow2/driver.h"

#include "block/graph.h"
#include "block/qcow2/image.h"

namespace emu::block {
namespace {

using qcow2::Image;
using qcow2::ImageOptions;

/// Knobs of caches and checks that others have and users write: ours need no tuning.
constexpr const char* kWithoutEffect[] = {
    "cache-size",         "l2-cache-size",      "l2-cache-entry-size", "refcount-cache-size", "cache-clean-interval",
    "overlap-check",      "overlap-check.template", "pass-discard-snapshot", "pass-discard-other", "discard-no-unref"};

Task<Result<NodeRef>> open(qcow2::CorruptionListener listener, OpenContext& context, Options options) {
  context.reads_while_opening = true;
  Result<NodeRef> file = co_await context.open_file(options);
  EMU_CO_TRY(file);
  ImageOptions image;
  for (const char* const key : kWithoutEffect) options.take(key);
  const Result<std::optional<bool>> lazy = options.take_bool("lazy-refcounts");
  EMU_CO_TRY(lazy);
  image.lazy_refcounts = *lazy;
  const Result<bool> pass = options.take_bool_or("pass-discard-request", context.settings.unmap);
  EMU_CO_TRY(pass);
  image.pass_discard = *pass;
  if (options.has("encrypt.format") || options.has("encrypt.key-secret")) {
    co_return error("encrypted images are not supported (encrypt.*)");
  }
  image.read_only = context.settings.read_only;
  image.auto_read_only = context.settings.auto_read_only;
  std::string beside = (*file)->filename();
  image.open_child = [&context, &options, beside](std::string role, std::string filename,
                                                  std::string format) -> Task<Result<NodeRef>> {
    // Arguments are copied into the coroutine; the lambda itself outlives it, in the image's options.
    OpenContext::Implied implied{.filename = std::move(filename), .driver = std::move(format)};
    std::string place = beside;
    Result<NodeRef> child = co_await context.open_child(options, std::move(role), std::move(implied), std::move(place));
    co_return child;
  };
  image.children_opened = [&options] { return options.finish(); };
  if (listener) {
    image.on_corruption = [listener, name = context.settings.name](const qcow2::Corruption& c) { listener(name, c); };
  }
  std::string name = context.settings.name;
  NodeRef below = *file;
  Result<std::shared_ptr<Image>> opened =
      co_await Image::open(context.loop, std::move(name), std::move(below), std::move(image));
  if (!opened) {
    const bool is_other = opened.error().message() == qcow2::kNotQcow2;
    Error named = std::move(opened).error().within("'" + beside + "'");
    if (is_other) named = std::move(named).with_hint("leave format= away to have it guessed, or say format=raw");
    co_return error(std::move(named));
  }
  context.settings.read_only = (*opened)->is_read_only();
  co_return NodeRef(*opened);
}

int probe(std::span<const u8> first) { return qcow2::looks_like_qcow2(first) ? 100 : 0; }

}  // namespace

void register_qcow2_driver(DriverRegistry& drivers, qcow2::CorruptionListener listener) {
  drivers.add({.name = "qcow2",
               .is_format = true,
               .open = [listener = std::move(listener)](OpenContext& context, Options options) {
                 return open(listener, context, std::move(options));
               },
               .probe = probe});
}

}  // namespace emu::block
