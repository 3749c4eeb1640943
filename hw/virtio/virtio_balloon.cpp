// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_balloon.h"

#include <algorithm>
#include <cstring>

#include "softmmu/memory/ram_window.h"
#include "util/log.h"

namespace emu::hw {

using namespace virtio;
using namespace std::chrono_literals;

namespace {

// 5.5.3
constexpr u64 kStatsVq = bit64(1), kDeflateOnOom = bit64(2), kPagePoison = bit64(4), kPageReporting = bit64(5);

constexpr u64 kPageBytes = 4096;  // whatever the guest's pages are, 5.5.6
constexpr u64 kMostPages = 4096;  // of one buffer; drivers give some hundreds

struct Config {  // 5.5.4
  Le32 num_pages, actual, free_page_hint_cmd_id, poison_value;
};
constexpr u32 kActualOffset = 4, kPoisonOffset = 12;

struct Statistic {  // 5.5.6.3
  Le16 tag;
  Le64 value;
};
static_assert(sizeof(Statistic) == 10);

}  // namespace

VirtioBalloon::VirtioBalloon() : VirtioDevice(DeviceId::Balloon, sizeof(Config)) { forget_statistics(); }

void VirtioBalloon::describe(TypeInfo<VirtioBalloon>& type) {
  type.doc("Memory balloon");
  type.category(Category::Misc);
  type.property("deflate-on-oom", &VirtioBalloon::deflate_on_oom_, "the guest may take pages back when it needs them");
  type.property("free-page-reporting", &VirtioBalloon::free_page_reporting_,
                "the guest tells of pages that it does not use; they are given back to the host");
  type.property("free-page-hint", &VirtioBalloon::free_page_hint_, "off only");
  type.property("page-poison", &VirtioBalloon::page_poison_, "the guest says what it fills free pages with");
  type.property("guest-stats-polling-interval", &VirtioBalloon::polling_interval, &VirtioBalloon::set_polling_interval,
                "seconds between two questions for statistics; 0: none")
      .settable_at_runtime();
  type.saved(1, &VirtioBalloon::fields, &VirtioBalloon::after_load);
}

Result<void> VirtioBalloon::realize() {
  if (free_page_hint_) return error("{}: free-page-hint=on is not supported", type().name());
  add_queue(128);
  add_queue(128);
  add_queue(128);
  if (free_page_reporting_) add_queue(32);
  poll_timer_ = clock().make_timer([this] { poll(); });
  if (polling_s_ != 0) poll_timer_.arm_at(clock().now() + polling_s_ * 1s);
  return {};
}

void VirtioBalloon::unrealize() {
  poll_timer_ = {};
  if (held_statistics_ != nullptr) queue(kStatistics)->push(std::move(held_statistics_), 0);
}

void VirtioBalloon::virtio_reset() {
  if (held_statistics_ != nullptr) queue(kStatistics)->push(std::move(held_statistics_), 0);
  forget_statistics();
  poison_ = 0;
  actual_pages_ = 0;
}

u64 VirtioBalloon::device_features() const {
  u64 features = kStatsVq;
  if (deflate_on_oom_) features |= kDeflateOnOom;
  if (page_poison_) features |= kPagePoison;
  if (free_page_reporting_) features |= kPageReporting;
  return features;
}

void VirtioBalloon::fill_config(std::span<u8> bytes) const {
  Config config;
  config.num_pages = target_pages_;
  config.actual = actual_pages_;
  config.poison_value = poison_;
  std::memcpy(bytes.data(), &config, std::min(bytes.size(), sizeof config));
}

void VirtioBalloon::config_written(std::span<const u8> bytes, u32 offset, u32 size) {
  Config config;
  std::memcpy(&config, bytes.data(), sizeof config);
  const auto touches = [&](u32 field) { return offset < field + 4 && field < offset + size; };
  if (touches(kPoisonOffset) && has_feature(kPagePoison)) poison_ = config.poison_value.get();
  if (!touches(kActualOffset)) return;
  const u32 before = std::exchange(actual_pages_, config.actual.get());
  if (before != actual_pages_) machine().report_balloon_change(balloon_bytes());
}

// What a person sees and wants. --------------------------------------------------------------------------------------

void VirtioBalloon::set_target_bytes(u64 bytes) {
  target_pages_ = u32(std::min<u64>(bytes / kPageBytes, ~0u));
  config_changed();
}

u64 VirtioBalloon::balloon_bytes() const { return u64(actual_pages_) * kPageBytes; }

// Pages. -------------------------------------------------------------------------------------------------------------

bool VirtioBalloon::may_discard() const {
  // 5.5.6.6.1: pages that the guest expects to find poisoned must not come back as zeroes.
  return !has_feature(kPagePoison) || poison_ == 0;
}

void VirtioBalloon::handle_queue(unsigned index) {
  VirtQueue& from = *queue(index);
  if (index == kStatistics) {
    while (VirtElementPtr element = from.pop()) take_statistics(std::move(element));
    return;
  }
  from.process([&](VirtElementPtr element) {
    if (index == kInflate) take_pages(*element);
    if (index == kReporting) take_reported(*element);
    from.push(std::move(element), 0);
    return true;
  });
  from.notify();
}

/// Numbers of pages that the guest gives away. Those next to each other go in one piece.
void VirtioBalloon::take_pages(const VirtElement& element) {
  std::array<Le32, 256> numbers;
  mem::GuestPhys first = 0;
  u64 bytes = 0;
  const auto discard = [&] {
    if (bytes != 0 && !mem::discard_ram(dma(), first, bytes)) {
      log::guest_error("{}: pages at {:#x} are not RAM", path(), first);
    }
  };
  // The machine waits while we are at it. What is left out stays with the host a while longer.
  const u64 count = std::min(element.readable_bytes() / sizeof(Le32), kMostPages);
  for (u64 done = 0; done < count;) {
    const u64 some = std::min<u64>(numbers.size(), count - done);
    const std::span<u8> raw(reinterpret_cast<u8*>(numbers.data()), some * sizeof(Le32));
    if (!element.read(done * sizeof(Le32), raw)) break;
    for (u64 i = 0; i < some; ++i) {
      const mem::GuestPhys page = u64(numbers[i].get()) * kPageBytes;
      if (bytes != 0 && page == first + bytes) {
        bytes += kPageBytes;
        continue;
      }
      discard();
      first = page;
      bytes = kPageBytes;
    }
    done += some;
  }
  discard();
}

void VirtioBalloon::take_reported(const VirtElement& element) {
  if (!may_discard()) return;
  for (const VirtBuffer& buffer : element.writable()) {
    if (!mem::discard_ram(dma(), buffer.address, buffer.length)) {
      log::guest_error("{}: reported pages at {:#x} are not RAM", path(), buffer.address);
    }
  }
}

// Statistics, 5.5.6.3. -----------------------------------------------------------------------------------------------

void VirtioBalloon::forget_statistics() {
  statistics_.fill(~u64(0));
  statistics_time_s_ = 0;
}

void VirtioBalloon::take_statistics(VirtElementPtr element) {
  VirtQueue& from = *queue(kStatistics);
  if (held_statistics_ != nullptr) {
    // One buffer goes back and forth; a driver with two gets the older one back.
    from.push(std::move(held_statistics_), 0);
    from.notify();
  }
  statistics_.fill(~u64(0));
  const u64 count = std::min<u64>(element->readable_bytes() / sizeof(Statistic), kMaxQueueSize);
  for (u64 i = 0; i < count; ++i) {
    const auto one = element->read<Statistic>(i * sizeof(Statistic));
    if (!one) break;
    if (one->tag.get() < statistics_.size()) statistics_[one->tag.get()] = one->value.get();
  }
  statistics_time_s_ = machine().host_clock().now() / 1s;
  held_statistics_ = std::move(element);
}

Result<void> VirtioBalloon::set_polling_interval(u32 seconds) {
  polling_s_ = seconds;
  if (!is_realized()) return {};
  poll_timer_.cancel();
  if (seconds != 0) poll();
  return {};
}

void VirtioBalloon::poll() {
  if (polling_s_ == 0) return;
  poll_timer_.arm_at(clock().now() + polling_s_ * 1s);
  if (held_statistics_ == nullptr || !is_running()) return;
  queue(kStatistics)->push_and_notify(std::move(held_statistics_), 0);
}

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtioBalloon::fields(Archive& ar) {
  ar("target", target_pages_)("actual", actual_pages_)("poison", poison_)("polling", polling_s_);
}

Result<void> VirtioBalloon::after_load() {
  if (polling_s_ != 0) poll_timer_.arm_at(clock().now() + polling_s_ * 1s);
  return {};
}

}  // namespace emu::hw
