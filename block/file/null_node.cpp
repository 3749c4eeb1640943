// SPDX-License-Identifier: Apache-2.0
// Protocol `null-co`: forgets what is written; for measuring everything else.
#include <cstring>

#include "block/driver.h"
#include "block/timers.h"

namespace emu::block {
namespace {

constexpr u64 kDefaultBytes = 1ull << 30;

class NullNode final : public Node {
 public:
  NullNode(EventLoop& loop, const NodeSettings& settings, u64 bytes, u64 latency_ns, bool read_zeroes)
      : Node(loop, settings.name, settings.read_only),
        bytes_(bytes),
        read_zeroes_(read_zeroes),
        latency_(latency_ns) {}

  static Task<Result<NodeRef>> open(OpenContext& context, Options options) {
    options.take("filename");
    auto bytes = options.take_size("size");
    EMU_CO_TRY(bytes);
    auto latency_ns = options.take_u64_or("latency-ns", 0);
    EMU_CO_TRY(latency_ns);
    auto read_zeroes = options.take_bool_or("read-zeroes", false);
    EMU_CO_TRY(read_zeroes);
    auto known = options.finish();
    EMU_CO_TRY(known);
    if (*latency_ns > 60'000'000'000) co_return error("latency-ns is invalid: at most 60000000000 (a minute)");
    co_return std::make_shared<NullNode>(context.loop, context.settings, bytes->value_or(kDefaultBytes), *latency_ns,
                                         *read_zeroes);
  }

  std::string_view driver() const override { return "null-co"; }
  std::string filename() const override { return "null-co://"; }
  u64 bytes() const override { return bytes_; }

  Task<IoStatus> read(u64, IoVec to) override {
    if (read_zeroes_) {
      for (const iovec& part : to) std::memset(part.iov_base, 0, part.iov_len);
    }
    if (latency_ > 0) co_await wait();
    co_return 0;
  }
  Task<IoStatus> write(u64, IoVec, IoFlags) override {
    if (latency_ > 0) co_await wait();
    co_return 0;
  }
  Task<IoStatus> write_zeroes(u64, u64, IoFlags) override {
    if (latency_ > 0) co_await wait();
    co_return 0;
  }
  Task<IoStatus> discard(u64, u64) override { co_return 0; }
  Task<IoStatus> flush() override {
    if (latency_ > 0) co_await wait();
    co_return 0;
  }
  Task<Result<Extent>> status(u64 offset, u64 length) override {
    co_return Extent{.bytes = std::min(length, bytes_ - std::min(offset, bytes_)), .data = !read_zeroes_,
                     .zero = read_zeroes_, .allocated = true, .compressed = false, .host_offset = offset};
  }
  Task<Result<void>> truncate(u64 bytes, Preallocation) override {
    bytes_ = bytes;
    co_return Result<void>();
  }
  Task<Result<void>> set_read_only(bool read_only) override {
    change_read_only(read_only);
    co_return Result<void>();
  }

 private:
  Task<void> wait() { return delay(loop(), latency_); }
  u64 bytes_;
  const bool read_zeroes_;
  const u64 latency_;
};

}  // namespace

void register_null_drivers(DriverRegistry& drivers) {
  drivers.add({.name = "null-co", .is_protocol = true, .open = NullNode::open});
}

}  // namespace emu::block
