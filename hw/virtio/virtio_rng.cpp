// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_rng.h"

#include <algorithm>
#include <array>

namespace emu::hw {

using namespace std::chrono_literals;

namespace {
/// A longer buffer is filled in part, 5.4.6: the guest asks again.
constexpr u64 kMostAtOnce = 64 * 1024;
}  // namespace

void VirtioRng::describe(TypeInfo<VirtioRng>& type) {
  type.doc("Random numbers for the guest");
  type.category(Category::Misc);
  type.link("rng", &VirtioRng::rng_, "/objects", "source of the numbers; the host's generator if not given");
  type.property("max-bytes", &VirtioRng::max_bytes_, "bytes in a period at most");
  type.property("period", &VirtioRng::period_ms_, "milliseconds");
  type.saved(1, &VirtioRng::fields);
}

Result<void> VirtioRng::realize() {
  if (period_ms_ == 0) return error("{}: 'period' parameter expects a positive integer", type().name());
  if (max_bytes_ > 0x7fff'ffff'ffff'ffff) return error("{}: 'max-bytes' parameter is too large", type().name());
  add_queue(8);
  period_timer_ = clock().make_timer([this] { renew_quota(); });
  retry_timer_ = clock().make_timer([this] { schedule(0); });
  if (rng_ != nullptr) rng_->add_user();
  quota_ = max_bytes_;
  return {};
}

void VirtioRng::unrealize() {
  if (rng_ != nullptr) rng_->remove_user();
  period_timer_ = {};
  retry_timer_ = {};
}

void VirtioRng::virtio_reset() {
  quota_ = max_bytes_;
  period_timer_.cancel();
  retry_timer_.cancel();
}

void VirtioRng::renew_quota() {
  quota_ = max_bytes_;
  schedule(0);
}

u32 VirtioRng::fill(const VirtElement& element) {
  RngBackend& source = rng_ != nullptr ? *rng_ : builtin_;
  std::array<u8, 4096> bytes;
  const u64 wanted = std::min({element.writable_bytes(), quota_, kMostAtOnce});
  u64 done = 0;
  while (done < wanted) {
    const std::size_t got = source.read(std::span(bytes).first(std::min<u64>(bytes.size(), wanted - done)));
    if (got == 0 || !element.write(done, std::span<const u8>(bytes).first(got))) break;
    done += got;
  }
  return u32(done);
}

void VirtioRng::handle_queue(unsigned) {
  VirtQueue& requests = *queue(0);
  requests.process([&](VirtElementPtr element) {
    if (element->writable_bytes() == 0) {
      requests.push(std::move(element), 0);
      return true;
    }
    const u32 written = quota_ == 0 ? 0 : fill(*element);
    if (written == 0) {
      requests.unpop(std::move(element));
      if (quota_ != 0) retry_timer_.arm_at(clock().now() + 10ms);
      return false;
    }
    quota_ -= written;
    if (!period_timer_.is_armed()) period_timer_.arm_at(clock().now() + period_ms_ * 1ms);
    requests.push(std::move(element), written);
    return true;
  });
  requests.notify();
}

void VirtioRng::fields(Archive& ar) {
  ar("quota", quota_);
  if (!ar.is_loading()) return;
  quota_ = std::min(quota_, max_bytes_);
  period_timer_.arm_at(clock().now() + period_ms_ * 1ms);
}

}  // namespace emu::hw
